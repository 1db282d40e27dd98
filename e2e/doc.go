// Package e2e has only tests. They run against real nsqds and nsqlookupds, each
// a process of its own that a test can stop, kill and restart with its data.
// Nothing has to be installed: the processes run the test binary itself, which
// contains the daemons as libraries.
package e2e
