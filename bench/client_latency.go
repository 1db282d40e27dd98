package main

import (
	"encoding/json"
	"errors"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ages is the distribution of the ages of messages, in microseconds and to two digits.
type ages struct {
	h *hdrhistogram.Histogram

	// Set when a report is read. All histograms have the same bars, from the least on.
	bars   []hdrhistogram.Bar
	within []int64 // how many messages are in a bar or in one before it
}

// oldest is the greatest age that is told from greater ones.
const oldest = time.Minute

func newAges() *ages { return &ages{h: hdrhistogram.New(1, oldest.Microseconds(), 2)} }

func (a *ages) add(age time.Duration) {
	_ = a.h.RecordValue(min(age, oldest).Microseconds()) // in the histogram's range
}

// quantile returns the age that the fraction q of the messages does not exceed.
func (a *ages) quantile(q float64) time.Duration {
	return time.Duration(a.h.ValueAtQuantile(100*q)) * time.Microsecond
}

// MarshalJSON encodes the distribution in the compressed form that all implementations of
// HdrHistogram read.
func (a *ages) MarshalJSON() ([]byte, error) {
	data, err := a.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(data))
}

func (a *ages) UnmarshalJSON(data []byte) (err error) {
	var encoded string
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	if a.h, err = hdrhistogram.Decode([]byte(encoded)); err != nil {
		return err
	}
	a.cumulate()
	return nil
}

// cumulate prepares a for pooled.
func (a *ages) cumulate() {
	a.bars, a.within = a.h.Distribution(), nil
	var n int64
	for _, bar := range a.bars {
		n += bar.Count
		a.within = append(a.within, n)
	}
}

// pooled returns the figure that is a quantile of the ages of all messages of all runs, in
// microseconds. It is NaN if a run has no ages.
func pooled(q float64) figure {
	return func(runs []Result) float64 {
		var total int64
		var longest *ages
		for _, r := range runs {
			if r.Ages == nil {
				return math.NaN()
			}
			total += r.Ages.h.TotalCount()
			if longest == nil || len(r.Ages.bars) > len(longest.bars) {
				longest = r.Ages
			}
		}
		enough := int64(math.Ceil(q * float64(total)))
		i := sort.Search(len(longest.bars)-1, func(i int) bool {
			var n int64
			for _, r := range runs {
				n += r.Ages.within[min(i, len(r.Ages.within)-1)]
			}
			return n >= enough
		})
		return float64(longest.bars[i].To)
	}
}

func runLatency(lib library, c Case, where addresses) (Result, error) {
	var mu sync.Mutex
	measured := newAges()
	_, err := lib.consume(c, where, func(_ byte, body []byte) {
		age := ageOf(body)
		mu.Lock()
		measured.add(age)
		mu.Unlock()
	})
	if err != nil {
		return Result{}, err
	}
	time.Sleep(warmUp)
	before := readMeter()
	mu.Lock()
	measured.h.Reset()
	mu.Unlock()
	time.Sleep(c.Window)
	mu.Lock()
	defer mu.Unlock()
	n := int(measured.h.TotalCount())
	r := readMeter().since(before, n)
	if n == 0 {
		return r, errors.New("received no message")
	}
	r.P50, r.P99, r.P999 = measured.quantile(0.5), measured.quantile(0.99), measured.quantile(0.999)
	r.Ages, measured = measured, newAges() // messages still come
	return r, nil
}
