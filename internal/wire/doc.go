// Package wire encodes and decodes the NSQ protocol: every frame and every
// command, for the client's side and for the server's.
//
// The package is pure. An Append function appends one command or frame to a
// slice and returns the extended slice. A Parse function reads one from the
// front of a slice and returns how many bytes it took. If it needs more input
// it returns [ErrShort] and has taken nothing. After any other error the stream
// cannot be continued. No input makes a Parse function panic, and a length sent
// by a peer is used only after it has been checked against the bytes that have
// actually arrived.
//
// The byte slices that Parse functions return alias their input: copy what must
// outlive it. Append functions do not validate. The caller must keep out names
// and bodies that nsqd refuses, because nsqd closes the connection after
// refusing one.
package wire
