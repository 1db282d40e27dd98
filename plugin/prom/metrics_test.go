package nsqprom

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/rdyhq/nsq"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// exporter is a Metrics and its registry.
type exporter struct {
	*testing.T
	*Metrics
	hooks nsq.Hooks
	reg   *prometheus.Registry
}

func export(t *testing.T, opts ...Option) *exporter {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := New(reg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return &exporter{T: t, Metrics: m, hooks: m.Hooks(), reg: reg}
}

// gather scrapes, and returns the value of each series, such as
// name{label="value"}. A histogram has _count and _sum.
func (e *exporter) gather() map[string]float64 {
	e.Helper()
	families, err := e.reg.Gather()
	if err != nil {
		e.Error(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.Metric {
			labels := labelsOf(metric)
			switch {
			case metric.Histogram != nil:
				values[f.GetName()+"_count"+labels] = float64(metric.Histogram.GetSampleCount())
				values[f.GetName()+"_sum"+labels] = metric.Histogram.GetSampleSum()
			case metric.Counter != nil:
				values[f.GetName()+labels] = metric.Counter.GetValue()
			default:
				values[f.GetName()+labels] = metric.Gauge.GetValue()
			}
		}
	}
	return values
}

func labelsOf(metric *dto.Metric) string {
	var pairs []string
	for _, l := range metric.Label {
		pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// expect scrapes, and compares the series whose names begin with prefix.
func (e *exporter) expect(prefix string, want map[string]float64) {
	e.Helper()
	got := e.gather()
	maps.DeleteFunc(got, func(name string, value float64) bool { return !strings.HasPrefix(name, prefix) })
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			e.Errorf("%s is %v, want %v", name, v, value)
		}
		delete(got, name)
	}
	for name, value := range got {
		if value != 0 {
			e.Errorf("%s is %v, want none or 0", name, value)
		}
	}
}

// fake is a Consumer whose snapshots the test makes up.
type fake struct {
	nsq.Snapshot
	stopped chan int
}

func (e *exporter) fake(topic, channel string, conns ...nsq.ConnectionSnapshot) *fake {
	f := &fake{nsq.Snapshot{Topic: topic, Channel: channel, Connections: conns}, make(chan int)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.consumers[new(nsq.Consumer)] = &reading{source: func() nsq.Snapshot { return f.Snapshot }, stopped: f.stopped}
	return f
}

// stop stops a fake as a Consumer stops: after that it has no connections.
func (f *fake) stop() {
	f.Connections = nil
	close(f.stopped)
}

func conn(addr string, received, finished uint64) nsq.ConnectionSnapshot {
	return nsq.ConnectionSnapshot{
		Addr: addr, State: nsq.ConnectionUp, InFlight: int(received - finished), RDY: 5,
		Counts: nsq.Counts{Received: received, Finished: finished},
	}
}

// member is the state of an nsqd of a pool that the test makes up.
func member(addr string, state nsq.ProducerState, healthy bool) nsq.PoolMember {
	return nsq.PoolMember{ProducerSnapshot: nsq.ProducerSnapshot{Addr: addr, State: state, Pending: 2, PendingBytes: 30}, Healthy: healthy}
}

// pool adds a pool with members.
func (e *exporter) pool(members ...nsq.PoolMember) {
	e.addProducer(new(nsq.ProducerPool), func() []nsq.PoolMember { return members })
}

var errRefused = &nsq.ProtocolError{Code: "E_FIN_FAILED"}

// feed makes one of each series.
func feed(e *exporter) {
	for _, outcome := range outcomes {
		e.hooks.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: outcome, Age: time.Minute, Waited: time.Second, Took: 2 * time.Second})
	}
	e.hooks.Connected(nsq.ConnectEvent{Topic: "t", Channel: "c", Addr: "n:1"})
	e.hooks.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: "c", Why: nsq.ErrMessageTimedOut})
	e.hooks.LookedUp(nsq.LookupEvent{Addr: "http://l:1", Took: time.Second})
	e.hooks.LookedUp(nsq.LookupEvent{Addr: "http://l:1", Took: time.Second, Err: errors.New("down")})
	for _, err := range []error{nil, errRefused, nsq.ErrNotSent, nsq.ErrUnknownOutcome} {
		e.hooks.Published(nsq.PublishedEvent{Topic: "t", Addr: "n:1", Messages: 2, Bytes: 30, Took: time.Second, Err: err})
	}
	c := conn("n:1", 7, 3)
	c.LastMessage = time.UnixMilli(1500)
	e.fake("t", "c", c)
	e.pool(member("n:1", nsq.ProducerConnected, true))
}

// Dashboards and alerts depend on names, types and labels, so a change must be deliberate.
func TestNames(t *testing.T) {
	e := export(t)
	feed(e)
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&text, "%s %s {%s} %s\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","), f.GetHelp())
	}
	const golden = "testdata/metrics.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	if all := len(e.descs.all()) + 6; len(families) != all {
		t.Errorf("%d of %d metrics have series", len(families), all)
	}
	problems, err := testutil.CollectAndLint(collector{e.Metrics})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Each event changes its own metrics and no others.
func TestEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		event func(nsq.Hooks)
		want  map[string]float64
	}{
		"handled": {
			func(h nsq.Hooks) {
				h.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: nsq.OutcomeFinished, Age: time.Hour, Waited: time.Second, Took: time.Minute})
			},
			map[string]float64{
				`nsq_consumer_handled_messages_total{channel="c",outcome="finished",topic="t"}`: 1,
				`nsq_consumer_handling_seconds_count{channel="c",outcome="finished",topic="t"}`: 1,
				`nsq_consumer_handling_seconds_sum{channel="c",outcome="finished",topic="t"}`:   60,
				`nsq_consumer_message_age_seconds_count{channel="c",topic="t"}`:                 1,
				`nsq_consumer_message_age_seconds_sum{channel="c",topic="t"}`:                   3600,
				`nsq_consumer_wait_seconds_count{channel="c",topic="t"}`:                        1,
				`nsq_consumer_wait_seconds_sum{channel="c",topic="t"}`:                          1,
			},
		},
		"from a clock that is ahead": {
			func(h nsq.Hooks) {
				h.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: nsq.OutcomePending, Age: -time.Hour})
			},
			map[string]float64{
				`nsq_consumer_handled_messages_total{channel="c",outcome="pending",topic="t"}`: 1,
				`nsq_consumer_handling_seconds_count{channel="c",outcome="pending",topic="t"}`: 1,
				`nsq_consumer_message_age_seconds_count{channel="c",topic="t"}`:                1,
				`nsq_consumer_wait_seconds_count{channel="c",topic="t"}`:                       1,
			},
		},
		"given up": {
			func(h nsq.Hooks) {
				h.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: nsq.OutcomeGivenUp, Age: time.Hour})
			},
			map[string]float64{`nsq_consumer_handled_messages_total{channel="c",outcome="given_up",topic="t"}`: 1},
		},
		"an outcome to come": {
			func(h nsq.Hooks) { h.Handled(nsq.HandledEvent{Topic: "t", Channel: "c", Outcome: "shelved"}) },
			map[string]float64{
				`nsq_consumer_handled_messages_total{channel="c",outcome="shelved",topic="t"}`: 1,
				`nsq_consumer_handling_seconds_count{channel="c",outcome="shelved",topic="t"}`: 1,
				`nsq_consumer_message_age_seconds_count{channel="c",topic="t"}`:                1,
				`nsq_consumer_wait_seconds_count{channel="c",topic="t"}`:                       1,
			},
		},
		"timed out": {
			func(h nsq.Hooks) {
				h.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: "c", Why: fmt.Errorf("x: %w", nsq.ErrMessageTimedOut)})
			},
			map[string]float64{`nsq_consumer_abandoned_messages_total{channel="c",reason="timeout",topic="t"}`: 1},
		},
		"cut off": {
			func(h nsq.Hooks) {
				h.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: "c", Why: nsq.ErrConnectionLost})
			},
			map[string]float64{`nsq_consumer_abandoned_messages_total{channel="c",reason="connection",topic="t"}`: 1},
		},
		"too big": {
			func(h nsq.Hooks) {
				h.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: "c", Why: nsq.ErrMessageTooBig})
			},
			map[string]float64{`nsq_consumer_abandoned_messages_total{channel="c",reason="too_big",topic="t"}`: 1},
		},
		"refused": {
			func(h nsq.Hooks) { h.Abandoned(nsq.AbandonedEvent{Topic: "t", Channel: "c", Why: errRefused}) },
			map[string]float64{`nsq_consumer_abandoned_messages_total{channel="c",reason="refused",topic="t"}`: 1},
		},
		"dead letter": {
			func(h nsq.Hooks) { h.Buried(nsq.BuriedEvent{Topic: "t", Channel: "c"}) },
			map[string]float64{`nsq_consumer_dead_letters_total{channel="c",result="ok",topic="t"}`: 1},
		},
		"no dead letter": {
			func(h nsq.Hooks) {
				h.Buried(nsq.BuriedEvent{Topic: "t", Channel: "c", PublishErr: nsq.ErrUnknownOutcome})
			},
			map[string]float64{`nsq_consumer_dead_letters_total{channel="c",result="error",topic="t"}`: 1},
		},
		"connected": {
			func(h nsq.Hooks) { h.Connected(nsq.ConnectEvent{Topic: "t", Channel: "c", Addr: "n:1"}) },
			map[string]float64{`nsq_consumer_connects_total{channel="c",nsqd="n:1",result="ok",topic="t"}`: 1},
		},
		"not connected": {
			func(h nsq.Hooks) {
				h.Connected(nsq.ConnectEvent{Topic: "t", Channel: "c", Addr: "n:1", Err: errors.New("no route")})
			},
			map[string]float64{`nsq_consumer_connects_total{channel="c",nsqd="n:1",result="error",topic="t"}`: 1},
		},
		"a Producer's connection": {
			func(h nsq.Hooks) { h.Connected(nsq.ConnectEvent{Addr: "n:1"}) },
			nil,
		},
		"looked up": {
			func(h nsq.Hooks) { h.LookedUp(nsq.LookupEvent{Addr: "http://l:1", Took: time.Second}) },
			map[string]float64{
				`nsq_lookup_requests_total{lookupd="http://l:1",result="ok"}`:        1,
				`nsq_lookup_request_seconds_count{lookupd="http://l:1",result="ok"}`: 1,
				`nsq_lookup_request_seconds_sum{lookupd="http://l:1",result="ok"}`:   1,
			},
		},
		"published":                   publishedBy(nil, "ok"),
		"refused by nsqd":             publishedBy(errRefused, "refused"),
		"refused as in go-nsq":        publishedBy(nsq.ErrProtocol{Reason: "E_MPUB_FAILED"}, "refused"),
		"not sent":                    publishedBy(fmt.Errorf("x: %w", nsq.ErrNotSent), "not_sent"),
		"stopped":                     publishedBy(nsq.ErrStopped, "not_sent"),
		"no reply":                    publishedBy(fmt.Errorf("x: %w", nsq.ErrUnknownOutcome), "unknown"),
		"not sent behind one refused": publishedBy(fmt.Errorf("%w: %w", nsq.ErrNotSent, errRefused), "not_sent"),
	} {
		t.Run(name, func(t *testing.T) {
			e := export(t)
			tt.event(e.hooks)
			e.expect("", tt.want)
		})
	}
}

func publishedBy(err error, result string) struct {
	event func(nsq.Hooks)
	want  map[string]float64
} {
	ofNSQD := fmt.Sprintf(`{nsqd="n:1",result=%q,topic="t"}`, result)
	ofTopic := fmt.Sprintf(`{result=%q,topic="t"}`, result)
	return struct {
		event func(nsq.Hooks)
		want  map[string]float64
	}{
		func(h nsq.Hooks) {
			h.Published(nsq.PublishedEvent{Topic: "t", Addr: "n:1", Messages: 3, Bytes: 40, Took: time.Second, Err: err})
		},
		map[string]float64{
			"nsq_producer_published_messages_total" + ofNSQD: 3,
			"nsq_producer_published_bytes_total" + ofNSQD:    40,
			"nsq_producer_publish_seconds_count" + ofTopic:   1,
			"nsq_producer_publish_seconds_sum" + ofTopic:     1,
		},
	}
}

// Counters are exported as 0 before their first event. Otherwise increase() misses it.
func TestZeros(t *testing.T) {
	e := export(t)
	e.fake("t", "c", conn("n:1", 0, 0))
	got := e.gather()
	for _, name := range []string{
		`nsq_consumer_lost_messages_total{channel="c",nsqd="n:1",topic="t"}`,
		`nsq_consumer_connects_total{channel="c",nsqd="n:1",result="error",topic="t"}`,
		`nsq_consumer_abandoned_messages_total{channel="c",reason="timeout",topic="t"}`,
		`nsq_consumer_handled_messages_total{channel="c",outcome="given_up",topic="t"}`,
		`nsq_consumer_handled_messages_total{channel="c",outcome="buried",topic="t"}`,
		`nsq_consumer_dead_letters_total{channel="c",result="ok",topic="t"}`,
		`nsq_consumer_connections{channel="c",state="connecting",topic="t"}`,
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("no %s in %q", name, slices.Sorted(maps.Keys(got)))
		}
	}
}

// A second Metrics in the same registry is an error that says what to do, unless it has
// another Namespace or other ConstLabels.
func TestRegisterTwice(t *testing.T) {
	e := export(t)
	if _, err := New(e.reg); err == nil || !strings.Contains(err.Error(), "already registered: use one Metrics") {
		t.Errorf("got %v", err)
	}
	if _, err := New(e.reg, Namespace("other")); err != nil {
		t.Error(err)
	}
	e = export(t, ConstLabels(prometheus.Labels{"app": "a"}))
	if _, err := New(e.reg, ConstLabels(prometheus.Labels{"app": "b"})); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		option Option
		want   string
	}{
		"no bucket":      {Buckets(), "no buckets"},
		"falling bucket": {Buckets(1, 2, 2), "buckets do not rise: [1 2 2]"},
		"no function":    {TopicLabel(nil), "TopicLabel is nil"},
		"le":             {ConstLabels(prometheus.Labels{"le": "1"}), `ConstLabels has "le"`},
		"own label":      {ConstLabels(prometheus.Labels{"topic": "t"}), "duplicate label names"},
		"namespace":      {Namespace("\xff"), "not a valid metric name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(prometheus.NewRegistry(), tt.option)
			if err == nil || !strings.HasPrefix(err.Error(), "nsqprom: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	e := export(t, Namespace("app_nsq"), ConstLabels(prometheus.Labels{"app": "a"}), Buckets(1, 10), NativeHistograms())
	feed(e)
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "app_nsq_") || !strings.Contains(labelsOf(f.Metric[0]), `app="a"`) {
			t.Errorf("%s%s", f.GetName(), labelsOf(f.Metric[0]))
		}
		if f.GetName() == "app_nsq_consumer_handling_seconds" {
			if h := f.Metric[0].Histogram; len(h.Bucket) != 2 || len(h.PositiveSpan) == 0 {
				t.Errorf("got %v", h)
			}
		}
	}
}
