//go:build race

package nsq

// poisoning makes release overwrite bodies. If a handler still reads one, it sees the
// poison, and the race detector reports the read.
const poisoning = true
