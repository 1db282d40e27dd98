package nsqprom

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// family holds the series of one kind. Events find their series by the names that they
// carry, without a lock. Names with the same labels share one series.
type family[K comparable, S any] struct {
	label func(names K) (labels K) // may call the user's TopicLabel
	build func(labels K) *S

	byNames atomic.Pointer[map[K]*S] // replaced under mu, never changed

	mu       sync.Mutex
	byLabels map[K]*S
}

func newFamily[K comparable, S any](label func(K) K, build func(K) *S) *family[K, S] {
	f := &family[K, S]{label: label, build: build, byLabels: map[K]*S{}}
	f.byNames.Store(&map[K]*S{})
	return f
}

// get returns the series for names.
func (f *family[K, S]) get(names K) *S {
	if s, ok := (*f.byNames.Load())[names]; ok {
		return s
	}
	s := f.labelled(f.label(names))
	f.mu.Lock()
	defer f.mu.Unlock()
	byNames := maps.Clone(*f.byNames.Load())
	byNames[names] = s
	f.byNames.Store(&byNames)
	return s
}

// labelled returns the series with labels.
func (f *family[K, S]) labelled(labels K) *S {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.byLabels[labels]
	if s == nil {
		s = f.build(labels)
		f.byLabels[labels] = s
	}
	return s
}

// forget forgets names, but not their series. A later event finds them by labels.
func (f *family[K, S]) forget(ended func(names K) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	byNames := maps.Clone(*f.byNames.Load())
	maps.DeleteFunc(byNames, func(names K, _ *S) bool { return ended(names) })
	f.byNames.Store(&byNames)
}

// all returns the series by their labels.
func (f *family[K, S]) all() map[K]*S {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.byLabels)
}

// histogram is one histogram of a vector. The first observation makes it, because an empty
// one would export as many series as a full one.
type histogram struct {
	vec    *prometheus.HistogramVec
	labels []string
	made   atomic.Pointer[prometheus.Observer]
}

func newHistogram(vec *prometheus.HistogramVec, labels ...string) *histogram {
	return &histogram{vec: vec, labels: labels}
}

func (h *histogram) observe(seconds float64) {
	made := h.made.Load()
	if made == nil {
		o := h.vec.WithLabelValues(h.labels...) // the same one for all goroutines that race here
		made = &o
		h.made.Store(made)
	}
	(*made).Observe(seconds)
}

// metric returns the histogram, or nil if nothing was observed.
func (h *histogram) metric() prometheus.Metric {
	if made := h.made.Load(); made != nil {
		return (*made).(prometheus.Metric)
	}
	return nil
}

// presence says whether series are exported. A scrape sets it.
type presence struct {
	seen bool // a Consumer, Producer or pool that was added has had these series
	live bool // one has them now
}

// shown reports whether the series are exported. Series that only hooks know of are.
func (p presence) shown() bool { return p.live || !p.seen }
