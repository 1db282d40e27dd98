//go:build !race

package nsq

const poisoning = false
