package nsq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

func TestPublish(t *testing.T) {
	produce(t, func(s *producing) {
		if got := s.p.String(); got != "a:1" {
			s.Errorf("String() = %q", got)
		}
		if n := s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d dials before the first use", n)
		}
		var want []string
		for i := range 10 {
			body := fmt.Sprint("one ", i)
			if err := s.p.PublishContext(s.Context(), "t", []byte(body)); err != nil {
				s.Error(err)
			}
			many := [][]byte{fmt.Appendf(nil, "two %d", i), fmt.Appendf(nil, "three %d", i)}
			if err := s.p.MultiPublishContext(s.Context(), "t", many); err != nil {
				s.Error(err)
			}
			want = append(want, body, string(many[0]), string(many[1]))
		}
		if got := s.stored(); !slices.Equal(got, want) {
			s.Errorf("stored %q, want %q", got, want)
		}
		if n := s.net.Dials(); n != 1 {
			s.Errorf("%d connections, want 1", n)
		}
	})
}

// A deferred message is delivered after its delay, in whole milliseconds.
func TestDeferredPublish(t *testing.T) {
	produce(t, func(s *producing) {
		start := time.Now()
		got := map[string]time.Duration{}
		s.consumer(1, func(m *Message) error {
			got[string(m.Body)] = time.Since(start)
			return nil
		})
		s.connect(s.d)
		for _, delay := range []time.Duration{0, time.Millisecond, time.Minute, time.Hour} {
			if err := s.p.DeferredPublishContext(s.Context(), "t", delay, fmt.Append(nil, delay)); err != nil {
				s.Error(err)
			}
		}
		after(2 * time.Hour)
		if want := "map[0s:0s 1h0m0s:1h0m0s 1m0s:1m0s 1ms:1ms]"; fmt.Sprint(got) != want {
			s.Errorf("delivered after %v, want %s", got, want)
		}
		err := s.p.DeferredPublishContext(s.Context(), "t", time.Hour+time.Millisecond, []byte("m"))
		if refused, ok := errors.AsType[*ProtocolError](err); !ok || refused.Code != "E_INVALID" {
			s.Errorf("a delay over nsqd's limit: %v, want E_INVALID", err)
		}
	})
}

// A consumer gets what was published, byte for byte.
func TestPublishedIsConsumed(t *testing.T) {
	produce(t, func(s *producing) {
		var got []string
		s.consumer(1, func(m *Message) error {
			got = append(got, string(m.Body))
			return nil
		})
		s.connect(s.d)
		if err := errors.Join(s.p.PublishContext(s.Context(), "t", []byte("a")), s.p.MultiPublishContext(s.Context(), "t", [][]byte{[]byte("b"), {0, '\n'}})); err != nil {
			s.Error(err)
		}
		synctest.Wait()
		if !slices.Equal(got, []string{"a", "b", "\x00\n"}) {
			s.Errorf("consumed %q", got)
		}
	})
}

func TestPing(t *testing.T) {
	produce(t, func(s *producing) {
		for range 2 {
			if err := s.p.Ping(); err != nil {
				s.Error(err)
			}
			synctest.Wait() // a NOP that waits for the socket would serve both calls
		}
		if got := commands(s.d, "NOP"); len(got) != 2 || s.net.Dials() != 1 {
			s.Errorf("nsqd got %q on %d connections, want two NOPs on one", got, s.net.Dials())
		}
		s.d.Kill()
		synctest.Wait()
		s.p.nsqd.mu.Lock()
		if s.p.nsqd.conn != nil {
			s.Error("a lost connection is kept")
		}
		s.p.nsqd.mu.Unlock()
		if err := s.p.Ping(); !errors.Is(err, syscall.ECONNREFUSED) {
			s.Errorf("without an nsqd: %v", err)
		}
		s.d.Restart()
		redialAllowed()
		if err := s.p.Ping(); err != nil {
			s.Errorf("with a new nsqd: %v", err)
		}
	})
}

// On an idle connection each command is written at once, and alone. The bytes are
// those of NSQ's protocol.
func TestPublishBytes(t *testing.T) {
	var tr *traffic
	produce(t, func(s *producing) {
		err := errors.Join(
			s.p.PublishContext(s.Context(), "t", []byte("hi")),
			s.p.MultiPublishContext(s.Context(), "t", [][]byte{[]byte("a"), []byte("bc")}),
			s.p.DeferredPublishContext(s.Context(), "t", 250*time.Millisecond+999*time.Microsecond, []byte("x")),
			s.p.DeferredPublishContext(s.Context(), "t", 999*time.Microsecond, []byte("x")),
			s.p.Ping())
		if err != nil {
			s.Error(err)
		}
		synctest.Wait()
		want := []string{
			"PUB t\n\x00\x00\x00\x02hi",
			"MPUB t\n\x00\x00\x00\x0f\x00\x00\x00\x02\x00\x00\x00\x01a\x00\x00\x00\x02bc",
			"DPUB t 250\n\x00\x00\x00\x01x",
			"DPUB t 0\n\x00\x00\x00\x01x",
			"NOP\n",
		}
		if got := tr.writes[1:]; !slices.Equal(got, want) {
			s.Errorf("sent %q, want %q", got, want)
		}
		if hello := tr.writes[0]; !strings.HasPrefix(hello, "  V2IDENTIFY\n") {
			s.Errorf("the first write is %q", hello)
		}
	}, func(s *scene) { tr = tapped(s) })
}

func TestNewProducerRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"ReadTimeout":            func(c *Config) { c.ReadTimeout = -1 },
		"must be less than Read": func(c *Config) { c.HeartbeatInterval = time.Hour },
		"Deflate and Snappy":     func(c *Config) { c.Snappy, c.Deflate = true, true },
	} {
		cfg := NewConfig()
		change(cfg)
		if p, err := NewProducer("a:1", cfg); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", p, err, want)
		}
	}
	for name, cfg := range map[string]*Config{"nil": nil, "literal": {}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s config: no panic", name)
				}
			}()
			_, _ = NewProducer("a:1", cfg)
		}()
	}
}

func TestProducerKeepsItsOwnConfig(t *testing.T) {
	produce(t, func(s *producing) {
		s.cfg.DialContext = nil
		s.cfg.MaxMsgSize = 1
		s.publishes()
	})
}

// D53: a publish for which nsqd would close the connection is not sent, so no other
// publish suffers.
func TestInvalidPublishesStayHere(t *testing.T) {
	body, tooBig := []byte("0123456789"), []byte("0123456789a")
	mebibyte := make([]byte, 1<<20)
	calls := map[string]func(p *Producer) error{
		`invalid topic name ""`:      func(p *Producer) error { return p.PublishContext(context.Background(), "", body) },
		`invalid topic name "a b"`:   func(p *Producer) error { return p.PublishContext(context.Background(), "a b", body) },
		`invalid topic name "t\nFIN`: func(p *Producer) error { return p.PublishContext(context.Background(), "t\nFIN", body) },
		`invalid topic name "` + strings.Repeat("x", 65): func(p *Producer) error {
			return p.MultiPublishContext(context.Background(), strings.Repeat("x", 65), [][]byte{body})
		},
		`to "nil": empty message body`:   func(p *Producer) error { return p.PublishContext(context.Background(), "nil", nil) },
		`to "empty": empty message body`: func(p *Producer) error { return p.PublishContext(context.Background(), "empty", []byte{}) },
		`to "none": no messages`:         func(p *Producer) error { return p.MultiPublishContext(context.Background(), "none", nil) },
		`to "list": empty message body`: func(p *Producer) error {
			return p.MultiPublishContext(context.Background(), "list", [][]byte{body, {}, body})
		},
		`11 bytes exceeds max_msg_size 10`: func(p *Producer) error { return p.PublishContext(context.Background(), "t", tooBig) },
		`"m": message body of 11 bytes exce`: func(p *Producer) error {
			return p.MultiPublishContext(context.Background(), "m", [][]byte{body, tooBig})
		},
		`"neg": delay -1ms out of range`: func(p *Producer) error {
			return p.DeferredPublishContext(context.Background(), "neg", -time.Millisecond, body)
		},
		`"far": delay 2562047h47m16.854`: func(p *Producer) error {
			return p.DeferredPublishContext(context.Background(), "far", math.MaxInt64, body)
		},
		`to "def": empty message body`: func(p *Producer) error {
			return p.DeferredPublishContext(context.Background(), "def", time.Second, nil)
		},
	}
	produce(t, func(s *producing) {
		for want, call := range calls {
			if err := call(s.p); err == nil || !strings.Contains(err.Error(), want) {
				s.Errorf("%v, want %q", err, want)
			}
		}
		if n := s.net.Attempts("a:1"); n != 0 {
			s.Errorf("%d dials, want none", n)
		}
		s.d.Inject(nsqtest.Fault{Command: "PUB", Delay: time.Second})
		var others sync.WaitGroup
		for range 8 {
			others.Go(func() {
				if err := s.p.PublishContext(s.Context(), "t", body); err != nil {
					s.Errorf("bystander: %v", err)
				}
			})
		}
		synctest.Wait()
		before := s.net.Writes()
		for _, call := range calls {
			_ = call(s.p)
		}
		synctest.Wait()
		if n := s.net.Writes() - before; n != 0 {
			s.Errorf("%d writes, want none", n)
		}
		others.Wait()
		if n := len(s.stored()); n != 8 || s.net.Dials() != 1 {
			s.Errorf("%d stored over %d connections, want 8 over one", n, s.net.Dials())
		}
	}, func(s *scene) { s.cfg.MaxMsgSize = 10 })

	// Without max_msg_size only the 32-bit lengths are a limit.
	produce(t, func(s *producing) {
		many := slices.Repeat([][]byte{mebibyte}, math.MaxInt32/len(mebibyte)+1)
		if err := s.p.MultiPublishContext(s.Context(), "t", many); err == nil || s.net.Attempts("a:1") != 0 {
			s.Errorf("over 2 GiB: %v, %d dials", err, s.net.Attempts("a:1"))
		}
		if err := s.p.PublishContext(s.Context(), "t", mebibyte); err != nil || len(s.stored()) != 1 {
			s.Errorf("1 MiB: %v, %d stored", err, len(s.stored()))
		}
	})
}

func TestProducerLogs(t *testing.T) {
	produce(t, func(s *producing) {
		var all, failures logLines
		s.p.SetLogger(&all, LogLevelInfo)
		s.p.SetLoggerForLevel(&failures, LogLevelError)
		s.publishes()
		after(time.Second)
		s.d.Disconnect(1)
		synctest.Wait()
		s.net.Refuse("a:1", nil)
		_ = s.p.Ping()
		redialAllowed()
		s.p.SetLoggerLevel(LogLevelMax)
		_ = s.p.Ping()
		expect := func(l *logLines, want ...string) {
			s.Helper()
			got := l.take()
			for i, line := range got {
				got[i] = line[:4] + strings.SplitN(line[4:], " (", 2)[1] // without the instance's number
			}
			if !slices.Equal(got, want) {
				s.Errorf("logged %q, want %q", got, want)
			}
		}
		expect(&all, "INF a:1) connecting to nsqd", "WRN a:1) connection to nsqd lost err=EOF", "INF a:1) connecting to nsqd")
		expect(&failures, `ERR a:1) not connected to nsqd err="[a:1] failed to connect - dial tcp a:1: connection refused"`)
		s.p.SetLogger(nil, LogLevelDebug)
		redialAllowed()
		_ = s.p.Ping()
		expect(&all)
		expect(&failures)
	})
}
