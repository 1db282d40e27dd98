// Package subject has mutants whose fates are known.
package subject

import "errors"

var errNegative = errors.New("negative")

// Sum returns the sum of the numbers up to n.
func Sum(n int) (int, error) {
	if n < 0 {
		return 0, errNegative
	}
	buffer := make([]int, 0, 8)
	for i := 1; i <= n; i++ {
		buffer = append(buffer, i)
	}
	sum := 0
	for _, i := range buffer {
		sum += i
	}
	return sum, nil
}

// Untested has no test.
func Untested(stop chan bool) bool {
	defer close(stop)
	return !<-stop
}
