package nsqotel

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/rdyhq/nsq"
)

// Consumer adds a Consumer to the gauges. Each collection calls [nsq.Consumer.Snapshot], which
// waits while the Consumer's Logger blocks. The gauges of a Consumer end when it has stopped.
// If several Consumers have the same topic and channel, in_flight and ready are summed, and
// backoff.level is the highest. Add each Consumer once.
func (t *Telemetry) Consumer(c *nsq.Consumer) {
	t.gauges.mu.Lock()
	defer t.gauges.mu.Unlock()
	if !slices.Contains(t.gauges.consumers, c) {
		t.gauges.consumers = append(t.gauges.consumers, c)
	}
}

// gauges are the instruments that show the state of Consumers.
type gauges struct {
	inFlight, ready, backoff metric.Int64ObservableGauge

	mu        sync.Mutex // guards consumers
	consumers []*nsq.Consumer
}

func (g *gauges) init(meter metric.Meter) error {
	var errs [4]error
	g.inFlight, errs[0] = meter.Int64ObservableGauge("nsq.consumer.in_flight", metric.WithUnit("{message}"),
		metric.WithDescription("Number of messages received and not acked or requeued."))
	g.ready, errs[1] = meter.Int64ObservableGauge("nsq.consumer.ready", metric.WithUnit("{message}"),
		metric.WithDescription("Number of messages that nsqd may have in flight (RDY)."))
	g.backoff, errs[2] = meter.Int64ObservableGauge("nsq.consumer.backoff.level", metric.WithUnit("1"),
		metric.WithDescription("Backoff level, 0 without backoff."))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	_, errs[3] = meter.RegisterCallback(g.observe, g.inFlight, g.ready, g.backoff)
	return errs[3]
}

// running returns the Consumers that have not stopped, and forgets the others.
func (g *gauges) running() []*nsq.Consumer {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.consumers = slices.DeleteFunc(g.consumers, func(c *nsq.Consumer) bool {
		select {
		case <-c.StopChan:
			return true
		default:
			return false
		}
	})
	return slices.Clone(g.consumers)
}

// observe reads all Consumers. An SDK keeps one value for each set of attributes, so the
// values of Consumers with the same topic and channel are combined first.
func (g *gauges) observe(_ context.Context, o metric.Observer) error {
	inFlight, ready, backoff := map[attribute.Set]int{}, map[attribute.Set]int{}, map[attribute.Set]int{}
	for _, c := range g.running() {
		s := c.Snapshot()
		all := gaugeAttributes(s.Topic, s.Channel, "")
		backoff[all] = max(backoff[all], s.BackoffLevel)
		for _, conn := range s.Connections {
			one := gaugeAttributes(s.Topic, s.Channel, conn.Addr)
			inFlight[one] += conn.InFlight
			ready[one] += conn.RDY
		}
	}
	for gauge, values := range map[metric.Int64Observable]map[attribute.Set]int{
		g.inFlight: inFlight, g.ready: ready, g.backoff: backoff,
	} {
		for set, n := range values {
			o.ObserveInt64(gauge, int64(n), metric.WithAttributeSet(set))
		}
	}
	return nil
}
