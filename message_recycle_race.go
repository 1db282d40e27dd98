//go:build race

package nsq

// poisoning has recycled bodies overwritten when they are released. A handler that
// still reads one sees the poison, and the race detector reports the read.
const poisoning = true
