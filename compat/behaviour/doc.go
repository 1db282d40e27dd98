// Package behaviour plays the same scenarios with the real go-nsq and with the
// root package, in one process and against the same fake nsqd, and compares
// what happens: the commands on the wire, the results of calls, the values of
// options. It has tests only. A difference that is meant names its row in
// docs/MIGRATION.md.
package behaviour
