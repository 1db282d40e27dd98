// Package behaviour plays the same scenarios with the real go-nsq and with the
// root package, in one process and against the same fake nsqd. It compares the
// commands on the wire, the results of calls and the values of options. A scenario
// with an intended difference names the row of docs/MIGRATION.md that explains it.
// The package contains only tests.
package behaviour
