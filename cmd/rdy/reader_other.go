//go:build !linux

package main

// unread returns 0: what a reader has taken is known only on Linux.
func (r *reader) unread() int { return 0 }

// gone reports false. That the reader is gone shows with the next write.
func (r *reader) gone() bool { return false }

// watch does nothing, for the same reason.
func (r *reader) watch(func()) (end func(), err error) { return func() {}, nil }
