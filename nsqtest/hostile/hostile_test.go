package hostile_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
	"github.com/rdyhq/nsq/nsqtest/hostile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A client is a connection of which the test sends and reads raw bytes.
type client struct {
	*testing.T
	conn net.Conn
	in   io.Reader // conn, or decompression on top of it
}

// play runs a script in a bubble, and the test against it, with a connection that is
// closed at the end.
func play(t *testing.T, opts hostile.Options, script func(*hostile.Peer), test func(c *client, d *hostile.Nsqd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Network = nsqtest.NewNetwork()
		d := hostile.NewNsqd(t, opts, script)
		conn, err := opts.Network.DialContext(t.Context(), "tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t, conn, conn}
		defer func() { _ = conn.Close() }()
		test(c, d)
	})
}

func (c *client) send(s string) {
	c.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.Fatal(err)
	}
}

// next returns the data of the next frame.
func (c *client) next() string {
	c.Helper()
	var h [8]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		c.Fatal(err)
	}
	header, err := wire.ParseHeader(h[:])
	if err != nil {
		c.Fatal(err)
	}
	data := make([]byte, header.Len)
	if _, err := io.ReadFull(c.in, data); err != nil {
		c.Fatal(err)
	}
	return string(data)
}

func (c *client) expect(want ...string) {
	c.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.Errorf("got %.100q, want %.100q", got, w)
		}
	}
}

const identify = "  V2IDENTIFY\n\x00\x00\x00\x02{}"

// A script subscribes a client, sends what it likes, and reads the client's commands.
func TestScript(t *testing.T) {
	script := func(p *hostile.Peer) {
		if !p.Subscribe() {
			return
		}
		p.Send(hostile.MessageFrame("\n", []byte("x")), hostile.Header(7, 1<<31), []byte("rest"))
		for {
			c, err := p.Next()
			if err != nil {
				return
			}
			p.Send(nsqtest.ResponseFrame(c.String() + " " + string(c.Body)))
		}
	}
	play(t, hostile.Options{}, script, func(c *client, d *hostile.Nsqd) {
		c.send(identify + "SUB t c\n")
		var granted wire.IdentifyResponse
		if err := json.Unmarshal([]byte(c.next()), &granted); err != nil || granted.MaxRdyCount != 2500 {
			c.Errorf("%+v, %v", granted, err)
		}
		c.expect("OK", "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\n000000000000000x")
		got := make([]byte, 12)
		if _, err := io.ReadFull(c.conn, got); err != nil || string(got) != "\x80\x00\x00\x04\x00\x00\x00\x07rest" {
			c.Errorf("%q, %v", got, err)
		}
		c.send("RDY 1\nPUB t\n\x00\x00\x00\x03abc")
		c.expect("RDY 1 ", "PUB t abc")
		if d.Conns() != 1 {
			c.Errorf("%d connections", d.Conns())
		}
	})
}

// A flood has the size that was asked for, and its progress is told. The connection is
// closed when the script returns.
func TestFlood(t *testing.T) {
	sent := 0
	script := func(p *hostile.Peer) {
		p.Greet()
		p.Flood(hostile.Heartbeat, 1<<20)
	}
	play(t, hostile.Options{Sent: func() { sent++ }, Identify: "OK"}, script, func(c *client, _ *hostile.Nsqd) {
		c.send(identify)
		c.expect("OK")
		all, err := io.ReadAll(c.conn)
		if err != nil || len(all) < 1<<20 || len(all) > 1<<20+64<<10 || len(bytes.ReplaceAll(all, hostile.Heartbeat, nil)) > 0 {
			c.Errorf("%d bytes, %v", len(all), err)
		}
		if sent < 3 || sent > 4 {
			c.Errorf("progress was told %d times", sent)
		}
	})
}

// What is granted is what is spoken.
func TestCompression(t *testing.T) {
	for compression, reader := range map[string]func(io.Reader) io.Reader{
		"snappy":  func(r io.Reader) io.Reader { return s2.NewReader(r) },
		"deflate": func(r io.Reader) io.Reader { return flate.NewReader(r) },
	} {
		play(t, hostile.Options{Compression: compression}, func(p *hostile.Peer) {
			p.Greet()
			p.Flood(hostile.Heartbeat, 1<<20)
			p.Hang()
		}, func(c *client, _ *hostile.Nsqd) {
			c.send(identify)
			if got := c.next(); !strings.Contains(got, `"`+compression+`":true`) {
				c.Error(got)
			}
			c.in = bufio.NewReader(reader(c.conn))
			c.expect("OK", "_heartbeat_", "_heartbeat_")
		})
	}
}

// A peer that hangs neither reads nor closes. Pause ends after its time, Discard with the
// connection.
func TestHangPauseDiscard(t *testing.T) {
	play(t, hostile.Options{}, func(p *hostile.Peer) {
		p.Pause(time.Minute)
		p.Send(hostile.Heartbeat)
		p.Discard()
	}, func(c *client, _ *hostile.Nsqd) {
		start := time.Now()
		c.expect("_heartbeat_")
		if took := time.Since(start); took != time.Minute {
			c.Errorf("paused for %v", took)
		}
		c.send(strings.Repeat("x", 200_000))
	})
	play(t, hostile.Options{}, (*hostile.Peer).Hang, func(c *client, d *hostile.Nsqd) {
		_ = c.conn.SetDeadline(time.Now().Add(time.Hour))
		if _, err := io.WriteString(c.conn, strings.Repeat("x", 200_000)); err == nil {
			c.Error("something was read")
		}
		d.Close()
		if _, err := c.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
			c.Error("open after Close")
		}
	})
}

func TestResponses(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		check   func(body string, took time.Duration) bool
	}{
		"listing": {hostile.Listing(3), func(body string, _ time.Duration) bool {
			p, err := list(body)
			return err == nil && len(p) == 3 && p[2].Addr() == "h2:4150"
		}},
		"drip":    {hostile.Drip("abc", time.Second), func(body string, took time.Duration) bool { return body == "abc" && took == 3*time.Second }},
		"endless": {hostile.Endless("ab", 1000), func(body string, _ time.Duration) bool { return body == strings.Repeat("ab", 500) }},
		"bomb":    {hostile.Bomb(1 << 20), func(body string, _ time.Duration) bool { return len(body) == 1<<20+len(`{"channels":["`) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			l := nsqtest.NewLookupd(t, nsqtest.LookupdOptions{Network: network})
			l.Handle(tt.handler)
			start := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.URL()+"/lookup?topic=t", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := network.HTTPClient().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !tt.check(string(body), time.Since(start)) {
				t.Errorf("%s: %.100q, %v", name, body, err)
			}
		})
	}
}

func list(body string) ([]nsqtest.Producer, error) {
	var listing struct{ Producers []nsqtest.Producer }
	err := json.Unmarshal([]byte(body), &listing)
	return listing.Producers, err
}
