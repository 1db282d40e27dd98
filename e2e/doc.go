// Package e2e has only tests. They run against real nsqds and nsqlookupds, each
// a process of its own that a test can stop, kill and restart with its data.
// Nothing has to be installed: the processes run the test binary itself, which
// contains the daemons as libraries. They have the version that go.mod names. With
// -modfile=nsqd121.mod, which needs GOWORK=off, it is 1.2.1.
package e2e
