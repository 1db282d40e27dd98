package nsq

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// The options for TLS, compression and AUTH take effect at nsqd, for a Producer and
// for a Consumer.
func TestTransportOptions(t *testing.T) {
	for _, compression := range []string{"snappy", "deflate"} {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			ca := nsqtest.NewCA(t)
			d := nsqtest.NewNsqd(t, nsqtest.Options{
				Network: network, AuthSecret: "secret", Snappy: true, Deflate: true, TLSRequired: true,
				TLSConfig: &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}, MinVersion: tls.VersionTLS13},
			})
			cfg := NewConfig()
			cfg.DialContext = network.DialContext
			cfg.TlsV1, cfg.TlsConfig = true, &tls.Config{RootCAs: ca.Roots(), MinVersion: tls.VersionTLS13}
			cfg.AuthSecret = "secret"
			if err := cfg.Set(compression, true); err != nil {
				t.Fatal(err)
			}
			p, err := NewProducer(d.Addr(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			if err := p.Publish("t", []byte("hello")); err != nil {
				t.Fatal(err)
			}
			c, err := NewConsumer("t", "c", cfg)
			if err != nil {
				t.Fatal(err)
			}
			c.AddHandler(HandlerFunc(func(*Message) error { return nil }))
			if err := c.ConnectToNSQD(d.Addr()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for _, client := range d.Clients() {
				if !client.TLS || client.Compression != compression {
					t.Errorf("%+v", client)
				}
			}
			if s := d.Stats("t", "c"); s.Finished != 1 {
				t.Errorf("%+v", s)
			}
			c.Stop()
			<-c.StopChan
		})
	}
}

// The bounds of a link follow from ReadTimeout and HeartbeatInterval: silence of two
// heartbeat intervals, 30 s each if nsqd chooses, is always accepted, and of more than
// two and a half never (N12). IDENTIFY gets milliseconds, and -1 for any negative value.
func TestLinkBounds(t *testing.T) {
	for _, tc := range []struct {
		readTimeout, heartbeat, want time.Duration
		asked                        int64
	}{
		{time.Minute, 30 * time.Second, time.Minute, 30_000},
		{61 * time.Second, 30 * time.Second, 61 * time.Second, 30_000},
		{59 * time.Second, 30 * time.Second, time.Minute, 30_000},
		{time.Minute, time.Second, 2500 * time.Millisecond, 1000},
		{2200 * time.Millisecond, time.Second, 2200 * time.Millisecond, 1000},
		{5 * time.Minute, 0, 75 * time.Second, 0},
		{5 * time.Minute, 5 * time.Minute, 10 * time.Minute, 300_000},
		{time.Second, 0, time.Minute, 0},
		{time.Minute, -1, 0, -1},
		{time.Minute, -time.Hour, 0, -1},
		{time.Minute, 999 * time.Microsecond, time.Minute, 0},
	} {
		c := NewConfig()
		c.ReadTimeout, c.HeartbeatInterval = tc.readTimeout, tc.heartbeat
		l := c.linkConfig("a:1", nil)
		if l.ReadTimeout != tc.want || l.HandshakeTimeout != min(tc.readTimeout, 6*time.Second) || l.Identify.HeartbeatInterval != tc.asked {
			t.Errorf("read_timeout %v, heartbeat_interval %v: %v, handshake %v, asked for %d", tc.readTimeout, tc.heartbeat,
				l.ReadTimeout, l.HandshakeTimeout, l.Identify.HeartbeatInterval)
		}
	}
	for _, tc := range []struct{ dial, read, want time.Duration }{ // N5
		{3 * time.Second, time.Minute, 8 * time.Second},
		{time.Minute, time.Minute, time.Minute},
		{0, 40 * time.Second, 40 * time.Second},
	} {
		c := NewConfig()
		c.DialTimeout, c.ReadTimeout = tc.dial, tc.read
		if got := c.linkConfig("a:1", nil).HandshakeTimeout; got != tc.want {
			t.Errorf("dial_timeout %v, read_timeout %v: handshake within %v, want %v", tc.dial, tc.read, got, tc.want)
		}
	}
	c := NewConfig()
	c.MaxMsgSize, c.OutputBufferTimeout, c.MsgTimeout = math.MaxInt32, 250*time.Millisecond, 15*time.Minute
	l := c.linkConfig("a:1", nil)
	if l.MaxBody != math.MaxInt32 || l.Identify.OutputBufferTimeout != 250 || l.Identify.MsgTimeout != 900_000 {
		t.Errorf("%+v", l)
	}
}

// DialTimeout bounds each dial; with 0 there is no bound.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConfig()
		var left time.Duration
		c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			left = -1
			if deadline, ok := ctx.Deadline(); ok {
				left = time.Until(deadline)
			}
			return nil, net.ErrClosed
		}
		for timeout, want := range map[time.Duration]time.Duration{
			time.Second: time.Second, time.Hour: time.Hour, 0: -1, -time.Second: -1,
		} {
			c.DialTimeout = timeout
			if _, err := c.dialContext()(t.Context(), "tcp", "a:1"); !errors.Is(err, net.ErrClosed) || left != want {
				t.Errorf("dial_timeout %v: %v left, want %v; %v", timeout, left, want, err)
			}
		}
	})
}

// D38: if nsqd does not offer TLS, callers get ErrTLSRefused, and the secret is not sent.
func TestTLSRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, AuthSecret: "secret"})
		cfg := NewConfig()
		cfg.DialContext, cfg.TlsV1, cfg.AuthSecret = network.DialContext, true, "secret"
		p, err := NewProducer(d.Addr(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		err = p.PublishContext(t.Context(), "t", []byte("hello"))
		identify, ok := errors.AsType[ErrIdentify](err)
		if !errors.Is(err, ErrTLSRefused) || !ok || !strings.Contains(identify.Reason, "TLS") {
			t.Errorf("%T %v", err, err)
		}
		if got := d.CommandsOf(1); !slices.Equal(got, []string{"IDENTIFY"}) {
			t.Errorf("sent %q", got)
		}
	})
}

// A unix: address is the path of a socket. A LocalAddr of TCP does not apply to it.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nsqd.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	greeting := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			greeting <- err.Error()
			return
		}
		b := make([]byte, 4)
		_, _ = conn.Read(b)
		_ = conn.Close()
		greeting <- string(b)
	}()
	cfg := NewConfig()
	cfg.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	p, err := NewProducer("unix:"+path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.PublishContext(ctx, "t", []byte("x")); err == nil {
		t.Error("published to nobody")
	}
	if got := <-greeting; got != "  V2" {
		t.Errorf("the socket got %q", got)
	}
}
