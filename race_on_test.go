//go:build race

package nsq

// raceDetector is true in builds with the race detector, in which a sync.Pool
// drops some of what is put into it.
const raceDetector = true
