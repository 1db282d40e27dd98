package nsqtest_test

import (
	"bytes"
	"compress/flate"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// offering returns the options of an nsqd that grants everything, and a TLS config
// for its clients.
func offering(t *testing.T) (nsqtest.Options, *tls.Config) {
	t.Helper()
	ca := nsqtest.NewCA(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}, MinVersion: tls.VersionTLS12}
	return nsqtest.Options{TLSConfig: server, Snappy: true, Deflate: true},
		&tls.Config{RootCAs: ca.Roots(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// negotiate sends IDENTIFY and returns what nsqd grants.
func (r *raw) negotiate(id wire.Identify) wire.IdentifyResponse {
	r.t.Helper()
	id.FeatureNegotiation = true
	r.identify(id)
	text := r.next()
	granted, _, err := wire.ParseIdentifyResponse([]byte(text))
	if err != nil {
		r.t.Fatalf("%q: %v", text, err)
	}
	return granted
}

func (r *raw) startTLS(cfg *tls.Config) {
	r.t.Helper()
	conn := tls.Client(r.conn, cfg)
	if err := conn.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	r.conn = conn
}

func (r *raw) startSnappy() {
	w := s2.NewWriter(r.conn, s2.WriterSnappyCompat(), s2.WriterConcurrency(1), s2.WriterFlushOnWrite())
	r.conn = &layered{Conn: r.conn, r: s2.NewReader(r.rest()), w: w}
}

func (r *raw) startDeflate() {
	w, err := flate.NewWriter(r.conn, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	r.conn = &layered{Conn: r.conn, r: flate.NewReader(r.rest()), w: w, flush: w.Flush}
}

// rest returns a reader of what was read ahead and then of the connection.
func (r *raw) rest() io.Reader {
	ahead := bytes.NewReader(r.buf)
	r.buf = nil
	return io.MultiReader(ahead, r.conn)
}

// layered is a connection with compression on top.
type layered struct {
	net.Conn
	r     io.Reader
	w     io.Writer
	flush func() error // nil if Write flushes
}

func (l *layered) Read(p []byte) (int, error) { return l.r.Read(p) }

func (l *layered) Write(p []byte) (int, error) {
	n, err := l.w.Write(p)
	if err == nil && l.flush != nil {
		err = l.flush()
	}
	return n, err
}

// TLS and each compression work, alone and together, and Clients shows them.
func TestUpgrades(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, compression := range []string{"", "snappy", "deflate"} {
			opts, cfg := offering(t)
			bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
				r := dial(t, n, d.Addr())
				r.negotiate(wire.Identify{TLSv1: secure, Snappy: compression == "snappy", Deflate: compression == "deflate"})
				if secure {
					r.startTLS(cfg)
					r.want("OK")
				}
				switch compression {
				case "snappy":
					r.startSnappy()
					r.want("OK")
				case "deflate":
					r.startDeflate()
					r.want("OK")
				}
				body := strings.Repeat("hello ", 20000)
				r.sendBytes(wire.AppendPub(nil, "t", []byte(body)))
				r.want("OK")
				r.send("SUB t c\n")
				r.want("OK")
				r.send("RDY 1\n")
				r.want("message 1 " + body)
				pass(30 * time.Second)
				r.want("_heartbeat_")
				r.fin(body)
				synctest.Wait()
				if c := d.Clients()[0]; c.TLS != secure || c.Compression != compression {
					t.Errorf("%+v", c)
				}
				wantStats(t, d, nsqtest.Stats{Clients: 1, Delivered: 1, Finished: 1})
			})
		}
	}
}

// An nsqd grants only what its Options offer: by default, nothing.
func TestUpgradesDeclined(t *testing.T) {
	all, _ := offering(t)
	for _, tt := range []struct {
		opts                 nsqtest.Options
		tls, snappy, deflate bool
	}{
		{opts: nsqtest.Options{}},
		{opts: nsqtest.Options{TLSConfig: all.TLSConfig}, tls: true},
		{opts: nsqtest.Options{Snappy: true}, snappy: true},
		{opts: nsqtest.Options{Deflate: true}, deflate: true},
	} {
		bubble(t, tt.opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
			r := dial(t, n, d.Addr())
			got := r.negotiate(wire.Identify{TLSv1: true, Snappy: true, Deflate: true, DeflateLevel: 9})
			if got.TLSv1 != tt.tls || got.Snappy != tt.snappy || got.Deflate != tt.deflate || got.DeflateLevel != 6 {
				t.Errorf("granted %+v, want %+v", got, tt)
			}
		})
	}
	bubble(t, all, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		if got := r.negotiate(wire.Identify{Deflate: true, DeflateLevel: 3}); got.DeflateLevel != 3 || got.TLSv1 || got.Snappy {
			t.Errorf("granted %+v", got)
		}
		both := dial(t, n, d.Addr())
		both.identify(wire.Identify{FeatureNegotiation: true, Snappy: true, Deflate: true})
		both.want("error E_IDENTIFY_FAILED cannot enable both deflate and snappy compression", "closed")
	})
}

func TestTLSRequired(t *testing.T) {
	opts, cfg := offering(t)
	opts.TLSRequired = true
	bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		for _, command := range []string{"NOP", "SUB t c", "BOGUS"} {
			r := dial(t, n, d.Addr())
			r.send(command + "\n")
			name, _, _ := strings.Cut(command, " ")
			r.want("error E_INVALID cannot "+name+" in current state (TLS required)", "closed")
		}
		r := dial(t, n, d.Addr())
		r.negotiate(wire.Identify{TLSv1: true})
		r.startTLS(cfg)
		r.want("OK")
		r.send("SUB t c\n")
		r.want("OK")
	})
}

// nsqd loses what a client sends before the upgrade is complete.
func TestUpgradeDiscards(t *testing.T) {
	opts, _ := offering(t)
	bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		b, err := wire.AppendIdentify(nil, &wire.Identify{FeatureNegotiation: true, Snappy: true})
		if err != nil {
			t.Fatal(err)
		}
		r.sendBytes(append(b, "SUB t c\n"...))
		r.next()
		r.startSnappy()
		r.want("OK")
		r.send("NOP\n")
		synctest.Wait()
		wantLines(t, d.CommandsOf(1), "IDENTIFY", "NOP")
	})
}

// nsqd reports in plain text that a handshake has failed or takes too long.
func TestTLSFails(t *testing.T) {
	opts, cfg := offering(t)
	bubble(t, opts, func(t *testing.T, d *nsqtest.Nsqd, n *nsqtest.Network) {
		r := dial(t, n, d.Addr())
		r.negotiate(wire.Identify{TLSv1: true})
		r.send("SUB t c\n")
		if got := r.next(); !strings.HasPrefix(got, "error E_IDENTIFY_FAILED IDENTIFY failed tls: ") {
			t.Errorf("got %q", got)
		}
		r.want("closed")

		start := time.Now()
		silent := dial(t, n, d.Addr())
		silent.negotiate(wire.Identify{TLSv1: true})
		silent.want(fmt.Sprintf("error E_IDENTIFY_FAILED IDENTIFY failed read tcp %s->%s: i/o timeout",
			d.Addr(), silent.conn.LocalAddr()), "closed")
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("a handshake that hangs ended after %v, want 5s", took)
		}

		d.CutAfterSent(1000) // counts the handshake's bytes too
		cut := dial(t, n, d.Addr())
		cut.negotiate(wire.Identify{TLSv1: true})
		if err := tls.Client(cut.conn, cfg).Handshake(); err == nil {
			t.Error("the handshake was not cut")
		}
	})
}
