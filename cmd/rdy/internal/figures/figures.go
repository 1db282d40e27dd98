// Package figures writes numbers as people read them.
package figures

import (
	"math"
	"strconv"
	"time"
)

// Count returns a number for people: exact below a million, then with three digits.
func Count(n int64) string {
	if n < 0 {
		return strconv.FormatInt(n, 10)
	}
	if n < 1e6 {
		digits := strconv.FormatInt(n, 10)
		if n < 1000 {
			return digits
		}
		return digits[:len(digits)-3] + "," + digits[len(digits)-3:]
	}
	v, unit := float64(n)/1e6, 0
	for v >= 1000 {
		v, unit = v/1000, unit+1
	}
	decimals := 2
	for limit := 10.0; v >= limit && decimals > 0; limit *= 10 {
		decimals--
	}
	shift := math.Pow10(decimals)
	cut := math.Floor(v*shift) / shift // rounding could make it 1000
	return strconv.FormatFloat(cut, 'f', decimals, 64) + " " + []string{"M", "G", "T", "P", "E"}[unit]
}

// Rate returns a number per second for people.
func Rate(perSecond float64) string {
	tenths := math.Round(perSecond * 10)
	switch {
	case perSecond <= 0:
		return "0"
	case tenths < 1:
		return "<0.1"
	case tenths < 100:
		return strconv.FormatFloat(tenths/10, 'f', 1, 64)
	}
	return Count(int64(math.Round(perSecond)))
}

// Share returns a part of 1 for people, in percent.
func Share(part float64) string {
	switch tenths := math.Round(part * 1000); {
	case part <= 0:
		return "0 %"
	case tenths < 1:
		return "<0.1 %"
	case tenths < 10:
		return strconv.FormatFloat(tenths/10, 'f', 1, 64) + " %"
	}
	return Count(int64(math.Round(part*100))) + " %"
}

// Duration returns a duration for people: two units at most, rounded up.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	units := []struct {
		length, smallest time.Duration
		name, smaller    string
	}{
		{day, time.Hour, "d", "h"},
		{time.Hour, time.Minute, "h", "min"},
		{time.Minute, time.Second, "min", "s"},
	}
	for _, u := range units {
		// Rounded up, a duration just below a unit is that unit.
		up := (d + u.smallest - 1).Truncate(u.smallest)
		if up < u.length {
			continue
		}
		text := strconv.FormatInt(int64(up/u.length), 10) + " " + u.name
		if rest := up % u.length / u.smallest; rest > 0 {
			text += " " + strconv.FormatInt(int64(rest), 10) + " " + u.smaller
		}
		return text
	}
	return strconv.FormatInt(int64((max(d, 0)+time.Second-1)/time.Second), 10) + " s"
}

// Bytes returns a number of bytes for people, in powers of 1024.
func Bytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(max(n, 0), 10) + " B"
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 {
		v, unit = v/1024, unit+1
	}
	decimals := 1
	if v >= 100 {
		decimals = 0
	}
	return strconv.FormatFloat(math.Floor(v*10)/10, 'f', decimals, 64) + " " + []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}[unit]
}
