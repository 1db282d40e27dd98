package e2e

import (
	"os"
	"syscall"
	"testing"
)

// dataDir makes a directory for an nsqd's data that ends with the test. It lies in memory
// if there is room: everything in nsqd waits while its disk queue is synced, and on a disk
// that builds keep busy that has taken minutes.
func dataDir(t testing.TB) string {
	t.Helper()
	const memory, enough = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if syscall.Statfs(memory, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "nsqd-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
