//go:build !linux

package e2e

import "testing"

// dataDir makes a directory for an nsqd's data that ends with the test.
func dataDir(t testing.TB) string {
	t.Helper()
	return t.TempDir()
}
