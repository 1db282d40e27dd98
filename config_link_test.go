package nsq

import (
	"context"
	"crypto/tls"
	"errors"
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
		err = p.Publish("t", []byte("hello"))
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
