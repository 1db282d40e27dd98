//go:build !race

package nsqwatermill

const raceDetector = false
