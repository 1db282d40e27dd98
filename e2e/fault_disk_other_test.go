//go:build unix && !linux

package e2e

import "testing"

// smallDisk is a disk that a test can fill. Only Linux has one.
type smallDisk struct{ dir string }

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	t.Log("no disk will be full: a small one is mounted on Linux only")
	return nil
}

func (*smallDisk) fill() {}

func (*smallDisk) free() {}
