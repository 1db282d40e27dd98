// Package e2e holds tests against real nsqds and nsqlookupds, each a process of its own that a test can stop, kill and
// restart with its data. Nothing has to be installed: the processes are the test binary itself, which contains the
// daemons as libraries. The package is only tests.
package e2e
