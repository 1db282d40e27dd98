// Package recipes has the code that README.md shows.
package recipes

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/rdyhq/nsq"
)

// LogTo sends the lines of a Consumer to a logger of the program's own, such as a *log.Logger.
func LogTo(consumer *nsq.Consumer, l nsq.Logger) {
	consumer.SetLogger(l, nsq.LogLevelWarning)
}

// Configure returns a Config with the options of a configuration file's section.
func Configure(section map[string]any) (*nsq.Config, error) {
	cfg := nsq.NewConfig()
	return cfg, cfg.SetMap(section) // sets all, or none and says what is wrong with each
}

// Check finds out, when a program starts, whether nsqd can be reached with a Config.
func Check(ctx context.Context, cfg *nsq.Config, nsqd string) error {
	info, err := nsq.CheckNSQD(ctx, nsqd, cfg) // TLS and AUTH included
	if err == nil {
		log.Printf("nsqd %s at %s", info.Version, nsqd)
	}
	return err
}

// Worker is an interface of a program whose workers need not be Consumers.
type Worker interface {
	Stop()
	Stopped() <-chan struct{}
}

var _ Worker = (*nsq.Consumer)(nil)

// HandleN adds a handler that handles n messages. Then the Consumer stops.
func HandleN(consumer *nsq.Consumer, n int, handle nsq.HandlerFunc) {
	consumer.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error {
		if n--; n == 0 {
			consumer.Stop() // no more messages are begun
		}
		return handle(m)
	}))
}

var errTooEarly = errors.New("too early")

// NotBefore makes a handler that leaves messages alone until they have an age, of up to an hour.
// The requeue is no failure: the Consumer does not back off, and logs it at level Info.
func NotBefore(age time.Duration, handle nsq.HandlerFunc) nsq.HandlerFunc {
	return func(m *nsq.Message) error {
		if left := age - time.Since(time.Unix(0, m.Timestamp)); left > 0 {
			return nsq.RetryAfter(left, errTooEarly)
		}
		return handle(m)
	}
}
