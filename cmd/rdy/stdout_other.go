//go:build !unix

package main

import "io"

// closedAtStart reports false. On other systems the first write fails.
func closedAtStart(io.Writer) bool { return false }
