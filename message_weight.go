package nsq

import "math/bits"

// weight is the length of a body in 16 bits: exact up to 2047, and above that rounded up
// by less than a thousandth. It has 5 bits for a shift and 11 for what is shifted.
type weight uint16

const weightBits = 11

// weigh returns the weight of a body.
func weigh(length int) weight {
	shift := max(bits.Len(uint(length))-weightBits, 0) // #nosec G115 -- not negative
	if shift == 0 {
		return weight(length) // #nosec G115 -- below 2048
	}
	mantissa := (length-1)>>shift + 1
	if mantissa == 1<<weightBits {
		mantissa >>= 1
		shift++
	}
	return weight(shift<<weightBits | mantissa) // #nosec G115 -- a frame is shorter than 2 GiB
}

// bytes returns the length that w stands for.
func (w weight) bytes() int64 { return int64(w&(1<<weightBits-1)) << (w >> weightBits) }
