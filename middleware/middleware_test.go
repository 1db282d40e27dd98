package middleware

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/middleware/internal/scene"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func body(m *nsq.Message) string { return string(m.Body) }

func TestConform(t *testing.T) {
	for name, mw := range map[string]func() nsq.Middleware{
		"Timeout":           func() nsq.Middleware { return Timeout(time.Second) },
		"Timeout, a lease":  func() nsq.Middleware { return Timeout(time.Minute) },
		"Timeout, an hour":  func() nsq.Middleware { return Timeout(time.Hour) },
		"Only":              func() nsq.Middleware { return Only(func(*nsq.Message) bool { return true }) },
		"Concurrency":       func() nsq.Middleware { return Concurrency(1) },
		"ByKey":             func() nsq.Middleware { return ByKey(1, body) },
		"ByKey without key": func() nsq.Middleware { return ByKey(1, func(*nsq.Message) string { return "" }) },
	} {
		t.Run(name, func(t *testing.T) {
			scene.Conform(t, func(*testing.T, *nsq.Consumer) nsq.Middleware { return mw() })
		})
	}
}

// Bad arguments are found before the first message.
func TestBadArguments(t *testing.T) {
	for name, make := range map[string]func(){
		"Timeout 0":     func() { Timeout(0) },
		"Only nil":      func() { Only(nil) },
		"Concurrency 0": func() { Concurrency(0) },
		"ByKey 0":       func() { ByKey(0, body) },
		"ByKey nil":     func() { ByKey(1, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			make()
		}()
	}
}
