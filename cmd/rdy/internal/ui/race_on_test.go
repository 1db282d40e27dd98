//go:build race

package ui

// raceDetector is true in builds with the race detector, which is slow.
const raceDetector = true
