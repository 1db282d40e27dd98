// Package wire is the NSQ protocol as bytes: every frame and command, both
// what a client sends and reads and what a server sends and reads.
//
// It is pure. Append functions add one command or frame to a slice and return
// it; Parse functions read one from the front of a slice and say how many
// bytes it took. A parse that needs more input returns [ErrShort] and has
// taken nothing; every other error means that the stream cannot go on. No
// input makes a Parse function panic, and no length sent by a peer is used
// before it was checked against the bytes that are really there.
//
// What Parse functions return aliases their input: copy what must outlive it.
// Append functions write what they are given: a name or a body that nsqd would
// refuse, at the price of the connection, is the caller's to keep out.
package wire
