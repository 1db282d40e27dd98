// Package e2e has only tests. They run against real nsqds and nsqlookupds, each
// a process of its own that a test can stop, kill and restart with its data.
// Nothing has to be installed: the processes run the test binary itself, which
// contains the daemons as libraries. They have the version that go.mod names. With
// -modfile=nsqd121.mod, which needs GOWORK=off, it is 1.2.1.
//
// Two tests run briefly with all others, and longer on demand:
//
//	go test -v -run TestFaults -timeout 30m ./e2e -faults 10m
//	go test -v -run TestSoak -timeout 2h ./e2e -soak 1h
//
// TestFaults kills, freezes, restarts and moves nsqds and nsqlookupds, deletes topics
// and channels, fills a disk, and cuts, stalls and slows connections. It prints how
// long it takes until messages flow again. The full disk needs root on Linux; the
// frozen nsqd needs a Unix, and so does the whole test.
//
// TestSoak changes everything while it checks that no message is missing and that
// memory, goroutines and descriptors stay flat. It prints a line every ten seconds.
package e2e
