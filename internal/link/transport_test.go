package link

import (
	"bufio"
	"compress/flate"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/rdyhq/nsq/nsqtest"
)

// A transport is the layers between the commands and the socket.
type transport struct {
	secure      bool
	compression string
}

func (tr transport) String() string {
	return fmt.Sprintf("TLS %t, compression %q", tr.secure, tr.compression)
}

// transports returns all of them.
func transports() (all []transport) {
	for _, secure := range []bool{false, true} {
		for _, compression := range []string{"", OpSnappy, OpDeflate} {
			all = append(all, transport{secure, compression})
		}
	}
	return all
}

// want returns cfg with a request for the transport.
func (tr transport) want(cfg Config) Config {
	cfg.Identify.TLSv1 = tr.secure
	cfg.Identify.Snappy = tr.compression == OpSnappy
	cfg.Identify.Deflate = tr.compression == OpDeflate
	return cfg
}

// granted returns the reply to IDENTIFY that grants the transport. more are more fields.
func (tr transport) granted(more string) []byte {
	return nsqtest.ResponseFrame(fmt.Sprintf(`{"version":"1.3.0","tls_v1":%t,"snappy":%t,"deflate":%t%s}`,
		tr.secure, tr.compression == OpSnappy, tr.compression == OpDeflate, more))
}

// authority signs the certificates of the tests.
type authority struct {
	*nsqtest.CA
	server *tls.Config
}

func newAuthority(t *testing.T, hosts ...string) *authority {
	ca := nsqtest.NewCA(t)
	return &authority{ca, &tls.Config{Certificates: []tls.Certificate{ca.Issue(hosts...)}, MinVersion: tls.VersionTLS12}}
}

// client returns a config that trusts the authority.
func (a *authority) client() *tls.Config {
	return &tls.Config{RootCAs: a.Roots(), MinVersion: tls.VersionTLS12}
}

// startTLS is nsqd's side of the upgrade to TLS.
func (p *peer) startTLS(cfg *tls.Config) {
	p.t.Helper()
	conn := tls.Server(p.conn, cfg)
	if err := conn.Handshake(); err != nil {
		p.t.Fatal(err)
	}
	p.conn = p.plain(conn, conn, conn)
}

// compress is nsqd's side of the upgrade to a compression.
func (p *peer) compress(compression string) {
	p.t.Helper()
	p.conn = p.plain(p.conn, decompress(p.conn, compression), compressTo(p.conn, compression))
}

func decompress(src io.Reader, compression string) io.Reader {
	if compression == OpSnappy {
		return s2.NewReader(src)
	}
	return flate.NewReader(src)
}

// compressTo returns a writer that flushes each Write.
func compressTo(dst io.Writer, compression string) io.Writer {
	if compression == OpSnappy {
		return s2.NewWriter(dst, s2.WriterSnappyCompat(), s2.WriterConcurrency(1), s2.WriterFlushOnWrite())
	}
	w, err := flate.NewWriter(dst, 6)
	if err != nil {
		panic(err) // the level is valid
	}
	return flushing{w}
}

type flushing struct{ *flate.Writer }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	if err == nil {
		err = f.Flush() // as nsqd does
	}
	return n, err
}

// plain returns a connection, with deadlines, on which the test reads what comes from
// src and writes what goes to dst: the two sides of a layer above conn.
func (p *peer) plain(conn net.Conn, src io.Reader, dst io.Writer) net.Conn {
	p.t.Helper()
	network := nsqtest.NewNetwork()
	listener, err := network.Listen(testAddr)
	if err != nil {
		p.t.Fatal(err)
	}
	inner, err := network.DialContext(p.t.Context(), "tcp", testAddr)
	if err != nil {
		p.t.Fatal(err)
	}
	outer, err := listener.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	_ = listener.Close()
	go func() {
		if _, err := io.Copy(inner, src); err == nil { // the test sees only a clean EOF
			_ = inner.(*nsqtest.Conn).CloseWrite()
		}
	}()
	go func() {
		_, _ = io.Copy(struct{ io.Writer }{dst}, inner) // hides ReadFrom, which would not flush
		_ = inner.Close()
		_ = conn.Close()
	}()
	return outer
}

// open plays a handshake with upgrades. It sends beats heartbeats wherever nsqd may send
// one.
func (p *peer) open(tr transport, cfg Config, server *tls.Config, beats int) *Link {
	p.t.Helper()
	due := 0 // 1 if a NOP comes with the next command
	beat := func() {
		for range beats {
			p.send(heartbeat)
		}
		synctest.Wait()
	}
	reply := func(frame []byte) { // the link may then send the next command
		beat()
		p.send(frame)
		due, p.owed = min(due+min(p.owed, 1)+beats, 1), 0
		beat()
		p.owed = beats
	}
	command := func(text string) {
		p.t.Helper()
		p.expect(strings.Repeat("NOP\n", due) + text)
		due = 0
	}
	more := ""
	if cfg.AuthSecret != "" {
		more = `,"auth_required":true`
	}
	result := p.dial(p.t.Context(), cfg)
	p.accept()
	p.expect(hello(cfg))
	reply(tr.granted(more))
	if tr.secure {
		p.startTLS(server)
		reply(okFrame)
	}
	if tr.compression != "" {
		p.compress(tr.compression)
		reply(okFrame)
	}
	if cfg.AuthSecret != "" {
		command("AUTH\n\x00\x00\x00\x06" + cfg.AuthSecret)
		reply(nsqtest.ResponseFrame(`{"identity":"me","identity_url":"","permission_count":2}`))
	}
	command("SUB t ch\n")
	reply(okFrame)
	l, err := result()
	if err != nil {
		p.t.Fatal(err)
	}
	p.owed += due
	return l
}

// Over every transport, with heartbeats between all that nsqd sends, a link connects,
// receives messages, finishes them, drains and closes.
func TestTransports(t *testing.T) {
	for _, tr := range transports() {
		for beats := range 3 {
			for _, secret := range []string{"", "secret"} {
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(t)
					ca := newAuthority(t, "127.0.0.1")
					cfg := tr.want(p.config())
					cfg.TLS, cfg.AuthSecret = ca.client(), secret
					l := p.open(tr, cfg, ca.server, beats)
					r := newRecorder()
					l.Start(r)
					p.expectNOPs(min(p.owed, 1), p.owed)
					p.finishAll(l, r)
					if got, ok := l.Auth(); ok != (secret != "") || ok && (got.Identity != "me" || got.PermissionCount != 2) {
						t.Errorf("%v: auth %+v, %t", tr, got, ok)
					}
					got := l.Transport()
					if (got.TLS == "TLS 1.3") != tr.secure || (got.CipherSuite != "") != tr.secure ||
						got.Compression != tr.compression || got.Version != "1.3.0" {
						t.Errorf("%v: transport %+v", tr, got)
					}
				})
			}
		}
	}
}

// finishAll sends small and large messages, has the link finish them, and drains it.
func (p *peer) finishAll(l *Link, r *recorder) {
	p.t.Helper()
	large := strings.Repeat("large ", 30000)
	p.send(message("a", "x"), heartbeat, message("b", large), message("c", "z"))
	p.expect("NOP\n")
	synctest.Wait()
	r.expect(p.t, "message a x", "message b "+large[:20], "message c z")
	l.Rdy(3)
	p.expect("RDY 3\n")
	for _, name := range []string{"a", "b", "c"} {
		id := testID(name)
		l.Fin(&id)
	}
	p.expect(fin("a") + fin("b") + fin("c"))
	l.Drain()
	p.expect("CLS\n")
	p.send(closeWaitFrame)
	p.expectEOF()
	select {
	case <-r.down:
		p.t.Error("down before nsqd closed")
	default:
	}
	_ = p.conn.Close()
	if err := r.wait(); err != nil {
		p.t.Error(err)
	}
	if s := l.Stats(); s.Finished != 3 || s.Lost != 0 || s.InFlight != 0 {
		p.t.Errorf("%+v", s)
	}
	expectNoTimers(p.t, l)
}

// A heartbeat that comes between two streams is answered, although no stream has it.
func TestHeartbeatBetweenStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		ca := newAuthority(t, "127.0.0.1")
		cfg := transport{secure: true}.want(p.config())
		cfg.TLS = ca.client()
		result := p.dial(t.Context(), cfg)
		p.accept()
		p.expect(hello(cfg))
		p.send(transport{secure: true}.granted(""), heartbeat)
		p.startTLS(ca.server)
		p.send(okFrame)
		p.expect("NOP\nSUB t ch\n")
		p.send(okFrame)
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		l.Close(nil)
	})
}

// nsqd reads nothing after the end of a deflate stream, and closes: what the link sent then
// would have nsqd's kernel reset the connection.
func TestNothingFollowsDeflate(t *testing.T) {
	for _, secure := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			ca := newAuthority(t, "127.0.0.1")
			cfg := transport{secure, OpDeflate}.want(p.config())
			cfg.TLS = ca.client()
			result := p.dial(t.Context(), cfg)
			p.accept()
			p.expect(hello(cfg))
			p.send(transport{secure, OpDeflate}.granted(""))
			if secure {
				p.startTLS(ca.server)
				p.send(okFrame)
			}
			below := bufio.NewReader(p.conn)
			stream := flate.NewReader(below)
			if _, err := compressTo(p.conn, OpDeflate).Write(slices.Concat(okFrame, okFrame)); err != nil {
				t.Fatal(err)
			}
			l, err := result()
			if err != nil {
				t.Fatal(err)
			}
			r := newRecorder()
			l.Start(r)
			l.Abandon()
			if got, err := io.ReadAll(stream); err != nil || string(got) != "SUB t ch\n" {
				t.Errorf("%q, %v", got, err)
			}
			_ = p.conn.SetReadDeadline(time.Now().Add(lingerTimeout / 2))
			if got, err := io.ReadAll(below); len(got) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q and %v after the end", got, err)
			}
			_ = p.conn.Close()
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The same with the fake nsqd, which discards what it has read before an upgrade.
func TestTransportsWithNsqd(t *testing.T) {
	for _, tr := range transports() {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			ca := newAuthority(t, "127.0.0.1")
			d := nsqtest.NewNsqd(t, nsqtest.Options{
				Network: network, TLSConfig: ca.server, Snappy: true, Deflate: true, AuthSecret: "secret",
			})
			cfg := tr.want(Config{Addr: d.Addr(), Dial: network.DialContext, Topic: "t", Channel: "ch", TLS: ca.client(), AuthSecret: "secret"})
			cfg.Identify.FeatureNegotiation = true
			l, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Fatalf("%v: %v", tr, err)
			}
			s := &sink{link: l, down: make(chan struct{})}
			l.Start(s)
			l.Rdy(2500)
			d.Publish("t", slices.Repeat([]string{strings.Repeat("x", 200)}, 2000)...)
			synctest.Wait()
			l.Drain()
			<-s.down
			if got := d.Stats("t", "ch"); got.Finished != 2000 || s.n != 2000 || network.OpenConns() != 0 {
				t.Errorf("%v: %+v, %d messages", tr, got, s.n)
			}
		})
	}
}

// The link works uncompressed if nsqd does not offer the compression that the owner asks
// for, or offers one that the owner does not ask for.
func TestCompressionDeclined(t *testing.T) {
	for _, wanted := range []string{OpSnappy, OpDeflate, ""} {
		for _, offered := range []string{OpSnappy, OpDeflate, ""} {
			if wanted == offered {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				result := p.dial(t.Context(), transport{false, wanted}.want(p.config()))
				p.accept()
				p.send(transport{false, offered}.granted(""), okFrame)
				l, err := result()
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close(nil)
				if got := l.Transport(); got != (Transport{Version: "1.3.0"}) {
					t.Errorf("%+v", got)
				}
				if got, _ := l.Granted(); got.Snappy != (offered == OpSnappy) || got.Deflate != (offered == OpDeflate) {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

// If nsqd does not offer the TLS that the owner wants, the link sends nothing after
// IDENTIFY: no secret leaves unencrypted (D38).
func TestTLSRefused(t *testing.T) {
	for _, reply := range []string{
		"OK", "{}", `{"tls_v1":false,"auth_required":true}`, `{"tls_v1":false,"snappy":true,"auth_required":true}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := transport{true, OpSnappy}.want(p.config())
			cfg.AuthSecret = "secret"
			result := p.dial(t.Context(), cfg)
			p.accept()
			p.expect(hello(cfg))
			p.send(heartbeat, nsqtest.ResponseFrame(reply))
			_, err := result()
			expectError(t, err, OpTLS, ErrTLSRefused)
			p.expectEOF()
		})
	}
}

// The server name is the host of the address, or the one in the owner's config (D40).
// The owner's config is not changed.
func TestServerName(t *testing.T) {
	tests := []struct {
		name   string
		cert   string
		change func(*tls.Config)
		fails  bool
	}{
		{"host of the address", "127.0.0.1", nil, false},
		{"another host", "example.com", nil, true},
		{"another host, which is expected", "example.com", func(c *tls.Config) { c.ServerName = "example.com" }, false},
		{"not the expected host", "127.0.0.1", func(c *tls.Config) { c.ServerName = "example.com" }, true},
		{"unknown authority", "127.0.0.1", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, true},
		{"unverified", "example.com", func(c *tls.Config) { c.InsecureSkipVerify = true }, false},
		{"TLS 1.2", "127.0.0.1", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := nsqtest.NewNetwork()
				ca := newAuthority(t, tt.cert)
				d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: testAddr, TLSConfig: ca.server})
				cfg := transport{secure: true}.want(Config{Addr: d.Addr(), Dial: network.DialContext, TLS: ca.client()})
				cfg.Identify.FeatureNegotiation = true
				if tt.change != nil {
					tt.change(cfg.TLS)
				}
				name := cfg.TLS.ServerName
				l, err := Dial(t.Context(), cfg)
				switch _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); {
				case tt.fails:
					expectError(t, err, OpTLS, nil)
					if !untrusted {
						t.Errorf("%T", err)
					}
				case err != nil:
					t.Error(err)
				default:
					l.Close(nil)
				}
				if cfg.TLS.ServerName != name {
					t.Error("the owner's config was changed")
				}
				if network.OpenConns() != 0 || network.Closes() != 1 {
					t.Errorf("%d open, %d closes", network.OpenConns(), network.Closes())
				}
			})
		})
	}
}

// nsqd requires a client certificate.
func TestClientCertificate(t *testing.T) {
	for _, given := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			network := nsqtest.NewNetwork()
			ca := newAuthority(t, "127.0.0.1")
			ca.server.ClientCAs, ca.server.ClientAuth = ca.Roots(), tls.RequireAndVerifyClientCert
			d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: testAddr, TLSConfig: ca.server})
			cfg := transport{secure: true}.want(Config{Addr: d.Addr(), Dial: network.DialContext, TLS: ca.client()})
			cfg.Identify.FeatureNegotiation = true
			if given {
				cfg.TLS.Certificates = []tls.Certificate{ca.Issue()}
			}
			l, err := Dial(t.Context(), cfg)
			if given && err == nil {
				l.Close(nil)
				return
			}
			if given || !strings.Contains(fmt.Sprint(err), "certificate required") {
				t.Errorf("certificate %t: %v", given, err)
			}
			expectError(t, err, OpTLS, nil)
		})
	}
}

// A unix: address is dialled as a socket's path.
func TestUnixAddress(t *testing.T) {
	var dialled string
	refused := errors.New("refused")
	_, err := Dial(t.Context(), Config{
		Addr: "unix:/run/nsqd.sock",
		Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
			dialled = network + " " + addr
			return nil, refused
		},
	})
	if dialled != "unix /run/nsqd.sock" || !errors.Is(err, refused) || !strings.Contains(err.Error(), "unix:/run/nsqd.sock") {
		t.Errorf("dialled %q: %v", dialled, err)
	}
}

// Owners who verify certificates themselves, as the documentation of crypto/tls shows,
// find the host's name in ServerName. A socket's path is no name.
func TestServerNameWithoutVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		ca := newAuthority(t, "evil.example.com")
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: "nsqd.example.com:4150", TLSConfig: ca.server})
		cfg := transport{secure: true}.want(Config{Addr: d.Addr(), Dial: network.DialContext, TLS: ca.client()})
		cfg.Identify.FeatureNegotiation = true
		cfg.TLS.InsecureSkipVerify = true
		cfg.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: cs.ServerName, Roots: ca.Roots()})
			return err
		}
		if l, err := Dial(t.Context(), cfg); err == nil {
			l.Close(nil)
			t.Error("the certificate of another host was accepted")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		ca := newAuthority(t, "unix")
		nsqtest.NewNsqd(t, nsqtest.Options{Network: network, Addr: testAddr, TLSConfig: ca.server})
		cfg := transport{secure: true}.want(Config{
			Addr: "unix:/run/nsqd.sock", TLS: ca.client(),
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return network.DialContext(ctx, "tcp", testAddr)
			},
		})
		cfg.Identify.FeatureNegotiation = true
		if l, err := Dial(t.Context(), cfg); err == nil {
			l.Close(nil)
			t.Error(`verified as a host named "unix"`)
		}
	})
}
