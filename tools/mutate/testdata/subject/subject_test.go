package subject

import "testing"

func TestSum(t *testing.T) {
	if sum, err := Sum(3); sum != 6 || err != nil {
		t.Error(sum, err)
	}
	if sum, err := Sum(-1); sum != 0 || err == nil {
		t.Error(sum, err)
	}
}
