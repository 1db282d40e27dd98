//go:build !unix

package link

var writeNow func(fd uintptr, data []byte) (int, error)
