//go:build race

package nsq

// raceDetector tells that sync.Pool drops some of what it is given.
const raceDetector = true
