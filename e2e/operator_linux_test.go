package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// almostFullDisk returns a directory on a disk with room for half of the orders, and a function
// that makes room. Who must not mount a disk gets an ordinary directory, and no function.
func almostFullDisk(t *testing.T) (dir string, makeRoom func()) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Logf("the disk will not be full: a small one cannot be mounted: %v", err)
		return dir, nil
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 208<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}
