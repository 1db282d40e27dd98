//go:build !linux

package e2e

import "testing"

// almostFullDisk returns an ordinary directory: a small disk is mounted on Linux only.
func almostFullDisk(t *testing.T) (dir string, makeRoom func()) {
	t.Helper()
	return t.TempDir(), nil
}
