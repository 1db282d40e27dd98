package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// connectVia plays the handshake that upgrades to a transport, and starts the link.
func (p *peer) connectVia(tr transport, cfg Config) (*Link, *recorder) {
	p.t.Helper()
	ca := newAuthority(p.t, "127.0.0.1")
	cfg = tr.want(cfg)
	cfg.TLS = ca.client()
	l := p.open(tr, cfg, ca.server, 0)
	r := newRecorder()
	l.Start(r)
	return l, r
}

// The link waits for an nsqd that is slow in the handshake, whatever the read and write
// timeouts (D41).
func TestSlowHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		ca := newAuthority(t, "127.0.0.1")
		cfg := transport{secure: true}.want(p.config())
		cfg.TLS, cfg.WriteTimeout, cfg.ReadTimeout = ca.client(), time.Second, time.Second
		result := p.dial(t.Context(), cfg)
		p.accept()
		pass(3 * time.Second)
		p.expect(hello(cfg))
		p.send(transport{secure: true}.granted(""))
		pass(3 * time.Second)
		p.startTLS(ca.server)
		pass(3 * time.Second)
		p.send(okFrame)
		p.expect("SUB t ch\n")
		p.send(okFrame)
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		l.Close(nil)
	})
}

// Wherever an upgrade or AUTH hangs, HandshakeTimeout or the context ends it.
func TestUpgradeTimeout(t *testing.T) {
	hangs := []struct {
		op     string
		wanted transport
		nsqd   func(*peer, *authority)
	}{
		{OpTLS, transport{secure: true}, func(*peer, *authority) {}},
		{OpTLS, transport{secure: true}, func(p *peer, _ *authority) { p.send(heartbeat, heartbeat[:5]) }},
		{OpTLS, transport{secure: true}, func(p *peer, ca *authority) { p.startTLS(ca.server) }},
		{OpSnappy, transport{true, OpSnappy}, func(p *peer, ca *authority) { p.startTLS(ca.server); p.send(okFrame) }},
		{OpSnappy, transport{false, OpSnappy}, func(p *peer, _ *authority) { p.compress(OpSnappy); p.send(heartbeat) }},
		{OpDeflate, transport{false, OpDeflate}, func(p *peer, _ *authority) { p.compress(OpDeflate); p.send(okFrame[:9]) }},
		{OpAuth, transport{}, func(*peer, *authority) {}},
	}
	for i, tt := range hangs {
		for _, cancelled := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				ca := newAuthority(t, "127.0.0.1")
				cfg := tt.wanted.want(p.config())
				cfg.TLS, cfg.AuthSecret, cfg.WriteTimeout, cfg.HandshakeTimeout = ca.client(), "secret", time.Second, 10*time.Second
				ctx, cause := t.Context(), ErrHandshakeTimeout
				if cancelled {
					cause = errors.New("stopping")
					var cancel context.CancelCauseFunc
					ctx, cancel = context.WithCancelCause(ctx)
					time.AfterFunc(10*time.Second, func() { cancel(cause) })
					cfg.HandshakeTimeout = 0
				}
				start := time.Now()
				result := p.dial(ctx, cfg)
				p.accept()
				p.expect(hello(cfg))
				p.send(tt.wanted.granted(`,"auth_required":true`))
				tt.nsqd(p, ca)
				_, err := result()
				expectError(t, err, tt.op, cause)
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("%d: ended after %v", i, took)
				}
			})
		}
	}
}

// nsqd says something other than OK on a new stream.
func TestUpgradeUnexpectedReply(t *testing.T) {
	for _, compression := range []string{OpSnappy, OpDeflate} {
		for _, reply := range [][]byte{
			nsqtest.ResponseFrame(""), nsqtest.ResponseFrame("{}"), closeWaitFrame,
			nsqtest.ErrorFrame("E_IDENTIFY_FAILED", "why"), message("a", "x"),
		} {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := transport{false, compression}.want(p.config())
				result := p.dial(t.Context(), cfg)
				p.accept()
				p.expect(hello(cfg))
				p.send(transport{false, compression}.granted(""))
				p.compress(compression)
				p.send(reply)
				_, err := result()
				expectError(t, err, compression, nil)
				if e, ok := errors.AsType[*wire.Error](err); bytes.Contains(reply, []byte("E_IDENTIFY")) && (!ok || e.Code != wire.IdentifyFailed) {
					t.Error(err)
				}
			})
		}
	}
}

// The ways in which AUTH can fail. No error shows the secret.
func TestAuthRefused(t *testing.T) {
	tests := []struct {
		name   string
		secret string
		reply  []byte // nil to close
		cause  error
		code   wire.Code
	}{
		{"no secret", "", nil, ErrAuthRequired, ""},
		{"refused", "secret", nsqtest.ErrorFrame("E_UNAUTHORIZED", "AUTH no authorizations found"), nil, wire.Unauthorized},
		{"auth server gone", "secret", nsqtest.ErrorFrame("E_AUTH_FAILED", "AUTH failed"), nil, wire.AuthFailed},
		{"OK", "secret", okFrame, wire.ErrFrame, ""},
		{"not JSON", "secret", nsqtest.ResponseFrame("{"), nil, ""},
		{"null", "secret", nsqtest.ResponseFrame("null"), wire.ErrFrame, ""},
		{"connection lost", "secret", nil, io.EOF, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				cfg.AuthSecret = tt.secret
				result := p.dial(t.Context(), cfg)
				p.accept()
				p.expect(hello(cfg))
				p.send(transport{}.granted(`,"auth_required":true`))
				if tt.secret != "" {
					p.expect("AUTH\n\x00\x00\x00\x06secret")
				}
				if tt.reply != nil {
					p.send(tt.reply)
				} else {
					synctest.Wait()
					_ = p.conn.Close()
				}
				_, err := result()
				expectError(t, err, OpAuth, tt.cause)
				if tt.code != "" {
					expectRefusal(t, err, OpAuth, tt.code)
				}
				if strings.Contains(fmt.Sprint(err), "secret") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// A secret that nsqd does not ask for is not sent.
func TestAuthNotAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		cfg.AuthSecret = "secret"
		l := p.handshake(cfg)
		defer l.Close(nil)
		if _, ok := l.Auth(); ok {
			t.Error("a reply to AUTH")
		}
	})
}

// The connection breaks after each byte of the handshake, in either direction. The
// error names the step, and the link closes the socket once.
func TestUpgradeCut(t *testing.T) {
	for _, direction := range []string{"sent", "received"} {
		secured := 0 // how many bytes it takes until TLS is up
		for _, tr := range transports() {
			t.Run(fmt.Sprint(tr, " ", direction), func(t *testing.T) {
				ca := newAuthority(t, "127.0.0.1")
				ca.server.CurvePreferences = []tls.CurveID{tls.X25519} // the cheapest
				n := 0
				if tr.secure && tr.compression != "" {
					n = secured - 100 // TLS alone came first and covered the bytes before
				}
				var at string
				for op := OpIdentify; op != ""; n++ {
					op = dialCut(t, tr, ca, direction, n)
					if at == OpTLS && op != OpTLS && tr.compression == "" {
						secured = n
					}
					at = op
				}
				if n < 100 {
					t.Errorf("connected after %d bytes", n)
				}
			})
		}
	}
}

// dialCut dials an nsqd that breaks the connection after n bytes. It returns the step
// that failed, or nothing if Dial succeeded.
func dialCut(t *testing.T, tr transport, ca *authority, direction string, n int) (op string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{
			Network: network, Addr: testAddr, TLSConfig: ca.server, Snappy: true, Deflate: true, AuthSecret: "secret",
		})
		if direction == "sent" {
			d.CutAfterSent(n)
		} else {
			d.CutAfterReceived(n)
		}
		cfg := tr.want(Config{Addr: testAddr, Dial: network.DialContext, TLS: ca.client(), Topic: "t", Channel: "ch", AuthSecret: "secret"})
		cfg.Identify.FeatureNegotiation = true
		l, err := Dial(t.Context(), cfg)
		if err == nil {
			l.Close(nil)
		} else {
			if e, ok := errors.AsType[*Error](err); ok {
				op = e.Op
			}
			if !slices.Contains([]string{OpIdentify, OpTLS, tr.compression, OpAuth, OpSub}, op) {
				t.Fatalf("%v, cut after %d bytes %s: %v", tr, n, direction, err)
			}
		}
		if network.Dials() != 1 || network.Closes() != 1 {
			t.Errorf("%v, cut after %d bytes %s: %d dials, %d closes", tr, n, direction, network.Dials(), network.Closes())
		}
	})
	return op
}

// What is appended during one Write waits for the next: 1,000 FINs take one Write of the
// link, and few on the socket.
func TestCompressedWritesCoalesce(t *testing.T) {
	for _, tr := range transports() {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, r := p.connectVia(tr, p.config())
			stuck := p.hold(l)
			writes, before := l.Stats().Writes, p.network.Writes()
			var want strings.Builder
			for i := range 1000 {
				id := testID(fmt.Sprint(i))
				l.Fin(&id)
				want.WriteString(fin(fmt.Sprint(i)))
			}
			synctest.Wait()
			p.expect(stuck + want.String())
			synctest.Wait()
			if n := l.Stats().Writes - writes; n != 1 {
				t.Errorf("%v: %d writes of the link", tr, n)
			}
			if n := p.network.Writes() - before; n > 20 { // with the rest of what was stuck
				t.Errorf("%v: %d writes on the socket", tr, n)
			}
			l.Close(nil)
			_ = r.wait()
		})
	}
}

// hold makes the link begin a Write that the connection cannot take whole. It returns
// what the link writes.
func (p *peer) hold(l *Link) string {
	p.t.Helper()
	noise := make([]byte, 320<<10) // does not compress
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	l.Pub("t", noise, newRecorder().replier(""))
	synctest.Wait()
	return string(wire.AppendPub(nil, "t", noise))
}

// The link never gives up on a peer that takes a byte now and then, but on one that
// takes none, whatever layers are above the socket (D45).
func TestUpgradedWriteTimeout(t *testing.T) {
	for _, tr := range transports() {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			p.network.Capacity = 100
			cfg := p.config()
			cfg.WriteTimeout = time.Second
			socket := &trickle{}
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := p.network.DialContext(ctx, network, addr)
				socket.Conn = conn.(*nsqtest.Conn)
				return socket, err
			}
			l, r := p.connectVia(tr, cfg)
			socket.every = cfg.WriteTimeout / 2
			body := strings.Repeat("0123456789abcdef", 10)
			start := time.Now()
			l.Pub("t", []byte(body), r.replier("pub"))
			p.expect(string(wire.AppendPub(nil, "t", []byte(body))))
			if took := time.Since(start); took < 10*time.Second {
				t.Errorf("%v: took only %v", tr, took)
			}
			socket.every = time.Hour
			start = time.Now()
			l.Pub("t", []byte(body), r.replier("stuck"))
			expectError(t, r.wait(), OpWrite, os.ErrDeadlineExceeded)
			if took := time.Since(start); took != cfg.WriteTimeout {
				t.Errorf("%v: gave up after %v", tr, took)
			}
		})
	}
}

// trickle is a socket that takes one byte at a time.
type trickle struct {
	*nsqtest.Conn
	every time.Duration // how long each byte takes; with 0, Write is the connection's
	by    time.Time     // the write deadline
}

func (s *trickle) SetWriteDeadline(t time.Time) error {
	s.by = t
	return nil
}

func (s *trickle) Write(p []byte) (n int, err error) {
	if s.every == 0 {
		return s.Conn.Write(p)
	}
	for n < len(p) && err == nil {
		if wait := time.Until(s.by); s.every >= wait {
			pass(wait)
			return n, os.ErrDeadlineExceeded
		}
		pass(s.every)
		_, err = s.Conn.Write(p[n : n+1])
		n++
	}
	return n, err
}

// A corrupt stream ends the handshake, and is not reported as a lost connection.
func TestCorruptStream(t *testing.T) {
	for _, compression := range []string{OpSnappy, OpDeflate} {
		for _, garbage := range []string{
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",     // a block or chunk of no known type
			"\x00\x08\x00\x00garbage.garbage.garbage.gar",  // a chunk whose checksum is wrong
			"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", // a stored block whose length is wrong
		} {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := transport{false, compression}.want(p.config())
				result := p.dial(t.Context(), cfg)
				p.accept()
				p.expect(hello(cfg))
				p.send(transport{false, compression}.granted(""))
				_, _ = compressTo(p.conn, compression).Write(okFrame)
				socket := p.conn
				p.conn = p.plain(socket, decompress(socket, compression), compressTo(io.Discard, compression))
				p.expect("SUB t ch\n")
				_, _ = socket.Write([]byte(garbage))
				_, err := result()
				expectError(t, err, OpSub, nil)
				if errors.Is(err, io.EOF) {
					t.Error(err)
				}
			})
		}
	}
}

// A connection lost within a compressed chunk is not reported as a corrupt stream.
func TestLostWithinChunk(t *testing.T) {
	for _, compression := range []string{OpSnappy, OpDeflate} {
		var chunks bytes.Buffer
		_, _ = compressTo(&chunks, compression).Write(okFrame)
		for n := range chunks.Len() {
			src := newDecoder(bytes.NewReader(chunks.Bytes()[:n]), compression)
			if _, err := io.ReadFull(src, make([]byte, len(okFrame)+1)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, cut after %d bytes: %v", compression, n, err)
			}
		}
	}
}

// A frame that is small on the wire and large once decompressed takes no more memory
// than one that arrives uncompressed.
func TestDecompressionBomb(t *testing.T) {
	const huge = 1 << 23
	tests := []struct {
		name  string
		frame []byte
		told  string // what the receiver is told; empty if the link ends
	}{
		{"message", message("a", "x"), "too big a 8388608"},
		{"response", okFrame, ""},
	}
	for _, compression := range []string{OpSnappy, OpDeflate} {
		for _, tt := range tests {
			t.Run(compression+" "+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(t)
					cfg := p.config()
					cfg.MaxBody = 1 << 10
					l, r := p.connectVia(transport{false, compression}, cfg)
					size := huge
					if tt.told != "" {
						size += wire.MessageDataLen(0)
					}
					head := bytes.Clone(tt.frame[:min(len(tt.frame), wire.HeaderLen+wire.MessageDataLen(0))])
					copy(head, []byte{byte((size + 4) >> 24), byte((size + 4) >> 16), byte((size + 4) >> 8), byte(size + 4)})
					p.send(head)
					synctest.Wait()
					if tt.told == "" {
						expectError(t, r.wait(), OpRead, wire.ErrFrame)
						return
					}
					r.expect(t, tt.told)
					zeros := make([]byte, 1<<20)
					for range huge >> 20 {
						p.send(zeros)
					}
					p.send(message("b", "x"))
					synctest.Wait()
					r.expect(t, tt.told, "message b x")
					if n := len(l.in.buf); n > busyBuffer {
						t.Errorf("a buffer of %d", n)
					}
					l.Close(nil)
					_ = r.wait()
				})
			})
		}
	}
}

// A block larger than snappy allows, which snappy's successor may send, is refused.
func TestSnappyBlockLimit(t *testing.T) {
	for _, size := range []int{maxSnappyBlock, maxSnappyBlock + 1} {
		var z bytes.Buffer
		w := s2.NewWriter(&z, s2.WriterConcurrency(1))
		_, _ = w.Write(make([]byte, size))
		_ = w.Close()
		n, err := io.ReadFull(newDecoder(&z, OpSnappy), make([]byte, size))
		if (err == nil) != (size <= maxSnappyBlock) {
			t.Errorf("a block of %d: %d bytes, %v", size, n, err)
		}
	}
}

// As soon as any byte of a compressed flush is sent, nsqd may have seen all of it.
func TestUnansweredCompressed(t *testing.T) {
	for _, taken := range []int{0, 1} {
		var below brittle
		below.n = taken
		e, err := newEncoder(&below, OpDeflate, 6)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := e.Write([]byte("FIN\nFIN\n")); n != taken*8 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d bytes taken: %d, %v", taken, n, err)
		}
	}
}

// Without a level, deflate compresses at its default level, not at level 0, which does not.
func TestDeflateLevel(t *testing.T) {
	for _, level := range []int{-1, 0, 1, 9} {
		var sent counted
		e, err := newEncoder(&sent, OpDeflate, level)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := e.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil || sent > 1<<14 {
			t.Errorf("level %d: %d bytes sent as %d, %v", level, n, sent, err)
		}
	}
}

// counted is an output that counts bytes.
type counted int

func (c *counted) Write(p []byte) (int, error) { *c += counted(len(p)); return len(p), nil }
func (*counted) CloseWrite() error             { return nil }

// brittle is an output whose Write takes n bytes and fails.
type brittle struct{ n int }

func (b *brittle) Write([]byte) (int, error) { return b.n, net.ErrClosed }
func (*brittle) CloseWrite() error           { return net.ErrClosed }
