package nsqotel

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A recorder is a Telemetry and an SDK that keeps metrics and spans in memory.
type recorder struct {
	*Telemetry
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
}

func newRecorder(t testing.TB, opts ...Option) *recorder {
	t.Helper()
	r := &recorder{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(r.spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	t.Cleanup(func() {
		if err := tracers.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := meters.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	var err error
	r.Telemetry, err = New(append([]Option{
		WithTracerProvider(tracers), WithMeterProvider(meters), WithPropagator(propagator),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// scene is a test in virtual time: an nsqd and a Config that reaches it.
type scene struct {
	*testing.T
	*recorder
	nsqd *nsqtest.Nsqd
	cfg  *nsq.Config
}

func inScene(t *testing.T, test func(s *scene), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		s := &scene{T: t, recorder: newRecorder(t, opts...), cfg: nsq.NewConfig()}
		s.nsqd = nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "nsqd1:4150"})
		s.cfg.DialContext = network.DialContext
		s.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		s.cfg.Hooks = []nsq.Hooks{s.Hooks()}
		test(s)
	})
}

// consume starts a Consumer of topic orders and channel billing, which stops with the test.
func (s *scene) consume(handler nsq.ContextHandlerFunc) *nsq.Consumer {
	s.Helper()
	c, err := nsq.NewConsumer("orders", "billing", s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	c.Use(s.Middleware)
	s.Consumer(c)
	c.AddHandler(handler)
	if err := c.ConnectToNSQD(s.nsqd.Addr()); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { stop(c) })
	return c
}

func stop(c *nsq.Consumer) {
	c.Stop()
	<-c.StopChan
}

// produce returns a Producer that stops with the test.
func (s *scene) produce() *nsq.Producer {
	s.Helper()
	p, err := nsq.NewProducer(s.nsqd.Addr(), s.cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Stop)
	return p
}

// after lets virtual time pass and waits until everything has settled.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // inside a synctest bubble
	synctest.Wait()
}

// traces writes spans as trees, without IDs and times. Each span is followed by its
// attributes except those that are left out, its links, events and status, and its
// children.
func traces(spans tracetest.SpanStubs, leaveOut ...attribute.Key) string {
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	names := map[trace.SpanID]string{}
	for _, s := range spans {
		names[s.SpanContext.SpanID()] = s.Name
	}
	var text strings.Builder
	var write func(parent trace.SpanID, indent string)
	write = func(parent trace.SpanID, indent string) {
		for _, s := range spans {
			_, known := names[s.Parent.SpanID()]
			if s.Parent.SpanID() != parent && (known || parent.IsValid()) {
				continue
			}
			fmt.Fprintf(&text, "%s%s %s\n", indent, s.Name, strings.ToUpper(s.SpanKind.String()))
			for _, line := range details(s, names, leaveOut) {
				fmt.Fprintf(&text, "%s    %s\n", indent, line)
			}
			write(s.SpanContext.SpanID(), indent+"  ")
		}
	}
	write(trace.SpanID{}, "")
	return text.String()
}

// details returns the lines of a span.
func details(s tracetest.SpanStub, names map[trace.SpanID]string, leaveOut []attribute.Key) []string {
	lines := pairs(s.Attributes, leaveOut)
	for _, l := range s.Links {
		lines = append(lines, "link to "+names[l.SpanContext.SpanID()])
	}
	for _, e := range s.Events {
		lines = append(lines, strings.TrimSpace("event "+e.Name+" "+strings.Join(pairs(e.Attributes, leaveOut), " ")))
	}
	if s.Status.Code != codes.Unset {
		lines = append(lines, "status "+s.Status.Code.String()+": "+s.Status.Description)
	}
	return lines
}

// pairs returns attributes as sorted texts.
func pairs(attributes []attribute.KeyValue, leaveOut []attribute.Key) (texts []string) {
	for _, a := range attributes {
		if !slices.Contains(leaveOut, a.Key) {
			texts = append(texts, string(a.Key)+"="+a.Value.String())
		}
	}
	slices.Sort(texts)
	return texts
}

// collected returns the metrics as sorted lines: name, unit, attributes and value. For a
// histogram the value is the count, the sum, and the bounds of the buckets in use.
func (r *recorder) collected(t testing.TB) string {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	var lines []string
	add := func(m metricdata.Metrics, set attribute.Set, value any) {
		lines = append(lines, fmt.Sprintf("%s {%s} %s = %v", m.Name, m.Unit, strings.Join(pairs(set.ToSlice(), nil), " "), value))
	}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(m, p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					add(m, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(m, p.Attributes, fmt.Sprintf("%d in %.3gs, buckets %v", p.Count, p.Sum, inUse(p)))
				}
			default:
				t.Fatalf("%s is a %T", m.Name, data)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// shown returns the lines of the metrics whose names begin with a prefix.
func (r *recorder) shown(t testing.TB, prefix string) string {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(r.collected(t)) {
		if strings.HasPrefix(line, prefix) {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

// inUse returns the upper bounds of the buckets that hold something.
func inUse(p metricdata.HistogramDataPoint[float64]) (bounds []float64) {
	for i, n := range p.BucketCounts {
		if n > 0 && i < len(p.Bounds) {
			bounds = append(bounds, p.Bounds[i])
		}
	}
	return bounds
}

// equal fails the test unless two texts are the same but for the indentation of want.
func equal(t testing.TB, got, want string) {
	t.Helper()
	lines := strings.Split(strings.Trim(want, "\n\t"), "\n")
	indent := len(want) - len(strings.TrimLeft(want, "\n\t")) - 1
	for i, line := range lines {
		if i > 0 && len(line) >= indent {
			lines[i] = line[indent:]
		}
	}
	if want = strings.Join(lines, "\n") + "\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// never is a TracerProvider that samples nothing.
var never = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
