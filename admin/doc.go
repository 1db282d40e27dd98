// Package admin watches and operates a cluster of NSQ daemons over their HTTP APIs.
//
// A [Cluster] names the daemons. [Cluster.Poll] reads what they count and merges it into a
// [View]: topics, their channels and the nsqds that hold them. [Between] turns two Views into
// rates. The other methods create, empty, pause and delete topics and channels on all daemons.
//
// A cluster is rarely whole: a daemon restarts, another is cut off. A daemon that does not
// respond does not fail a Poll. The View has what the others say, and names the one that is
// missing, so that a program can tell "0" from "unknown".
//
// The package works with nsqd and nsqlookupd 1.2 and 1.3. It needs the standard library only,
// and nothing of package nsq.
package admin
