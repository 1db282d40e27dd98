package nsqprom

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Option changes what [New] exports.
type Option func(*options)

type options struct {
	namespace   string
	constLabels prometheus.Labels
	buckets     []float64
	native      bool
	perNSQD     bool
	topicLabel  func(string) string
}

var (
	// defaultBuckets go from a fast handler to one that uses up nsqd's default lease.
	defaultBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60}

	// ageBuckets go from an empty queue to one that is four and a half hours behind.
	ageBuckets = prometheus.ExponentialBuckets(.001, 4, 13)
)

// Namespace sets the prefix of all metric names. The default is "nsq".
func Namespace(name string) Option { return func(o *options) { o.namespace = name } }

// ConstLabels sets labels that all series have.
func ConstLabels(labels prometheus.Labels) Option {
	labels = maps.Clone(labels)
	return func(o *options) { o.constLabels = labels }
}

// Buckets sets the upper bounds, in seconds and in rising order, of all histograms but that
// of the age of messages. The default bounds go from 5 ms to 60 s.
func Buckets(bounds ...float64) Option {
	bounds = slices.Clone(bounds)
	return func(o *options) { o.buckets = bounds }
}

// NativeHistograms adds native histograms to the classic ones. Each bucket is 10 % wider than
// the one below. Prometheus stores them if its feature native-histograms is on.
func NativeHistograms() Option { return func(o *options) { o.native = true } }

// PerNSQD sets whether series have a label with the address of the nsqd. The default is
// true. If it is false, all nsqds are summed, and nsq_producer_nsqd_healthy is left out.
func PerNSQD(on bool) Option { return func(o *options) { o.perNSQD = on } }

// TopicLabel sets a function that returns the label for the name of a topic or channel.
// Topics and channels with the same label are summed. The function may be called by several
// goroutines at once. If it panics, the label is "#invalid".
//
// The default is [FoldEphemeral].
func TopicLabel(label func(name string) string) Option {
	return func(o *options) { o.topicLabel = label }
}

// FoldEphemeral returns "#ephemeral" for the name of an ephemeral topic or channel, and any
// other name unchanged. The names of ephemeral channels are mostly random, and each would
// leave series behind.
func FoldEphemeral(name string) string {
	const suffix = "#ephemeral"
	if strings.HasSuffix(name, suffix) {
		return suffix
	}
	return name
}

// validate returns an error for options with which client_golang would panic later, when a
// histogram is made.
func (o *options) validate() error {
	if len(o.buckets) == 0 {
		return errors.New("no buckets")
	}
	for i, bound := range o.buckets {
		if math.IsNaN(bound) || i > 0 && bound <= o.buckets[i-1] {
			return fmt.Errorf("buckets do not rise: %v", o.buckets)
		}
	}
	if o.topicLabel == nil {
		return errors.New("TopicLabel is nil")
	}
	if _, ok := o.constLabels["le"]; ok {
		return errors.New(`ConstLabels has "le", which histograms use`)
	}
	return nil
}

func (o *options) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	opts := prometheus.HistogramOpts{
		Namespace: o.namespace, Name: name, Help: help, ConstLabels: o.constLabels, Buckets: buckets,
	}
	if o.native {
		opts.NativeHistogramBucketFactor = 1.1
		opts.NativeHistogramMaxBucketNumber = 160 // bounds the memory: beyond it buckets get wider
	}
	return prometheus.NewHistogramVec(opts, labels)
}
