// Package admin watches and operates a cluster of nsqds and nsqlookupds over their HTTP APIs.
//
// A [Cluster] names the daemons. [Cluster.Poll] reads their counts and merges them into a [View]:
// topics, their channels, and the nsqds that hold them. [Between] turns two Views into rates. The
// other methods create, empty, pause and delete topics and channels on all daemons.
//
// A cluster is rarely whole: one daemon restarts, another is cut off. A daemon that does not
// respond does not fail a Poll. The View has the figures of the others and names the daemon that
// is missing, so that a program can tell "0" from "unknown".
//
// # Changes
//
// Methods that change topics or channels send their requests to all daemons that they concern,
// several at a time, and return when all have responded. Their error joins an [*Error] for each
// request that failed. The other daemons have done what was asked. It is no error if only some of
// the nsqds have the topic or channel. If none has it, the error wraps [ErrNotFound]. An invalid
// name is an error before any request is sent.
//
// The package works with nsqd and nsqlookupd 1.2 and 1.3. It depends on the standard library
// only, not on package nsq.
package admin
