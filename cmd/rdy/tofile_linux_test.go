package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 64 KiB.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A real disk gets full, and has room again. The lines are whole, and on another device.
func TestToFileRealFullDisk(t *testing.T) {
	work, out := smallDisk(t), t.TempDir()
	ballast := filepath.Join(work, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 48<<10), fileMode); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 1)
	var bodies []string
	for _, s := range numbered("m", 100) {
		bodies = append(bodies, s+strings.Repeat("x", 300))
	}
	c.publish(t, 0, "full", "ch", bodies...)
	p := start(t, append(c.flags(), "to-file", "full", "--channel", "ch", "--output-dir", out, "--work-dir", work,
		"--sync-interval", "10ms", "--max-in-flight", "30")...)
	p.stderr.await(t, "no space left on device")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(t, "end", func() bool { return c.unfinished(t, "full") == 0 })
	p.interrupt(errInterrupted)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, stderr %q", code, p.stderr.String())
	}
	lines := strings.Fields(readable(t, out))
	slices.Sort(lines)
	if !slices.Equal(lines, bodies) {
		t.Errorf("the files have %d lines, want %d", len(lines), len(bodies))
	}
	if rest := readable(t, work); rest != "" {
		t.Errorf("the work directory has %q", rest)
	}
}
