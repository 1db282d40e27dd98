// Package fails has a test that fails.
package fails

func answer() int { return 41 }
