package nsq

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// noting returns a middleware that notes when a message comes in and goes out.
func noting(name string, notes *[]string) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(m *Message) error {
			*notes = append(*notes, "to "+name)
			err := next.HandleMessage(m)
			*notes = append(*notes, "from "+name)
			return err
		})
	}
}

// The first middleware is the outermost, over several calls of Use. It wraps all handlers,
// whether they were added before or after Use.
func TestUse(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		var notes []string
		wrapped := 0
		handler := HandlerFunc(func(*Message) error { notes = append(notes, "handled"); return nil })
		s.cfg.MaxInFlight = 1
		s.consumer(1, handler)
		s.c.Use(noting("a", &notes), noting("b", &notes))
		s.c.AddConcurrentHandlers(handler, 2)
		s.c.Use()
		s.c.Use(noting("c", &notes), func(next Handler) Handler { wrapped++; return next })
		s.connect(d, s.nsqd("b:1"))
		if err := s.c.SetConcurrency(7); err != nil {
			s.Fatal(err)
		}
		once := []string{"to a", "to b", "to c", "handled", "from c", "from b", "from a"}
		for range 7 {
			d.Publish("t", "m")
			after(time.Second)
		}
		if want := slices.Repeat(once, 7); !slices.Equal(notes, want) {
			s.Errorf("messages went %q, want %q", notes, want)
		}
		if wrapped != 2 {
			s.Errorf("2 handlers were wrapped %d times", wrapped)
		}
	})
}

// What middleware does with a message and its error reaches the handler and nsqd.
func TestMiddlewareDecides(t *testing.T) {
	for name, tt := range map[string]struct {
		mw   Middleware
		want string // the ID left out
	}{
		"another error": {func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error { return RetryAfter(time.Minute, next.HandleMessage(m)) })
		}, "REQ 60000"},
		"no error": {func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error { _ = next.HandleMessage(m); return nil })
		}, "FIN"},
		"no handler":      {func(Handler) Handler { return HandlerFunc(noError) }, "FIN"},
		"panic":           {func(Handler) Handler { return HandlerFunc(func(*Message) error { panic(errBoom) }) }, "REQ 90000"},
		"Goexit":          {func(Handler) Handler { return HandlerFunc(func(*Message) error { runtime.Goexit(); return nil }) }, "REQ 90000"},
		"handler's panic": {noting("a", new([]string)), "REQ 90000"},
		"recovered panic": {func(next Handler) Handler {
			return HandlerFunc(func(m *Message) (err error) {
				defer func() { err = NoBackoff(fmt.Errorf("recovered %v", recover())) }()
				return next.HandleMessage(m)
			})
		}, "REQ 90000"},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				d := s.nsqd("a:1")
				s.consumer(1, func(*Message) error {
					if strings.HasSuffix(name, "panic") {
						panic(errBoom)
					}
					return errBoom
				})
				s.c.Use(tt.mw)
				s.connect(d)
				id := d.Publish("t", "m")[0]
				synctest.Wait()
				got := strings.Join(commands(d, "REQ", "FIN"), ",")
				if got = strings.Replace(got, " "+id, "", 1); got != tt.want {
					s.Errorf("sent %q, want %q", got, tt.want)
				}
				s.balanced()
			})
		})
	}
}

// LogFailedMessage of a handler is called behind any number of layers of middleware, with
// the message as it was delivered.
func TestFailedMessageLoggerBehindMiddleware(t *testing.T) {
	inScene(t, func(s *scene) {
		s.cfg.MaxAttempts, s.cfg.DefaultRequeueDelay, s.cfg.MaxBackoffDuration = 2, 0, 0
		d := s.nsqd("a:1")
		var seen []string
		h := &failedLogger{HandlerFunc: func(m *Message) error { seen = append(seen, string(m.Body)); return errBoom }}
		another := func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error {
				copied := m.WithContext(m.Context())
				copied.Body = append([]byte("x"), m.Body...)
				return next.HandleMessage(copied)
			})
		}
		s.consumer(0, nil)
		s.c.Use(another, another)
		s.c.AddHandler(h)
		s.c.Use(another)
		s.connect(d)
		d.Publish("t", "m")
		after(time.Second)
		if want := []string{"xxxm", "xxxm"}; !slices.Equal(seen, want) || !slices.Equal(h.failed, []uint16{3}) {
			s.Errorf("handled %q, given up at %v, want %q and [3]", seen, h.failed, want)
		}
		if st := d.Stats("t", "c"); st.Finished != 1 || st.Requeued != 2 {
			s.Errorf("%+v, want 2 requeued and one finished", st)
		}
	})
}

// Use checks its arguments, and the first connect call checks what middleware returns. If it
// panics, so does every later connect call, so no message goes past middleware.
func TestUseMisused(t *testing.T) {
	panicked := func(f func()) (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		f()
		return ""
	}
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		if got := panicked(func() { s.c.Use(noting("a", new([]string)), nil) }); got != "nil middleware" {
			s.Errorf("Use of a nil middleware: %q", got)
		}
		s.connect(d) // with no middleware
		if got := panicked(func() { s.c.Use(noting("a", new([]string))) }); got != "already connected" {
			s.Errorf("Use after connecting: %q", got)
		}
	})
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.c.Use(noting("a", new([]string)), func(Handler) Handler { return nil })
		want := "middleware 2 of 2 returned a nil handler"
		for _, connect := range []func(){
			func() { _ = s.c.ConnectToNSQD(d.Addr()) },
			func() { _ = s.c.ConnectToNSQDs([]string{d.Addr()}) },
			func() { _ = s.c.ConnectToNSQLookupd("l:1") },
		} {
			if got := panicked(connect); got != want {
				s.Errorf("connecting: %q, want %q", got, want)
			}
		}
		if n := len(d.Clients()); n != 0 {
			s.Errorf("%d connections", n)
		}
	})
}

// Concurrent connect calls wrap the handlers once, and none of them connects before that is
// done.
func TestUseAndConnectAtOnce(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		d.Publish("t", slices.Repeat([]string{"m"}, 20)...)
		var mu sync.Mutex
		wrapped, seen := 0, 0
		s.consumer(4, noError)
		s.c.Use(func(next Handler) Handler {
			for range 100 { // not sleep: the others wait for a lock
				runtime.Gosched()
			}
			wrapped++
			return HandlerFunc(func(m *Message) error {
				mu.Lock()
				defer mu.Unlock()
				seen++
				return next.HandleMessage(m)
			})
		})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _ = s.c.ConnectToNSQD(d.Addr()) })
		}
		wg.Wait()
		after(time.Second)
		if wrapped != 1 || seen != 20 {
			s.Errorf("wrapped %d times, %d messages went through middleware, want 1 and 20", wrapped, seen)
		}
	})
}

// Middleware may call methods of its Consumer while it wraps a handler.
func TestMiddlewareMayCallItsConsumer(t *testing.T) {
	inScene(t, func(s *scene) {
		d := s.nsqd("a:1")
		s.consumer(1, noError)
		s.c.Use(func(next Handler) Handler {
			s.c.ChangeMaxInFlight(3)
			_ = s.c.SetConcurrency(2)
			_ = s.c.Snapshot()
			return next
		})
		s.connect(d)
		synctest.Wait()
		if got := rdyOf(d); got != 3 {
			s.Errorf("RDY %d, want 3", got)
		}
	})
}

// With recycle_bodies a body stays intact until its message is acked, even if middleware
// passes on copies with a part of it.
func TestRecycledBodiesBehindMiddleware(t *testing.T) {
	inScene(t, func(s *scene) {
		const n = 200
		s.cfg.RecycleBodies, s.cfg.MaxInFlight = true, 100
		d := s.nsqd("a:1")
		for i := range n {
			d.Publish("t", strings.Repeat("head", 1250)+fmt.Sprintf("%04d", i))
		}
		recycling, got := 0, map[string]int{}
		s.consumer(0, nil)
		s.c.Use(func(next Handler) Handler {
			return HandlerFunc(func(m *Message) error {
				if recycledMemory(m) != nil {
					recycling++
				}
				copied := m.WithContext(context.WithValue(m.Context(), testKey("a"), 1))
				copied.Body = m.Body[5000:]
				return next.HandleMessage(copied)
			})
		})
		s.c.AddHandler(HandlerFunc(func(m *Message) error {
			sleep(time.Millisecond)
			got[string(m.Body)]++
			m.Finish()
			return nil
		}))
		s.connect(d)
		after(time.Minute)
		for i := range n {
			if body := fmt.Sprintf("%04d", i); got[body] != 1 {
				s.Errorf("body %s came %d times", body, got[body])
			}
		}
		if recycling != n || len(got) != n {
			s.Errorf("%d of %d bodies recycled, %d bodies seen", recycling, n, len(got))
		}
		s.balanced()
	})
}
