package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// certificates are the paths of PEM files, for nsqd and for the tls_ options.
type certificates struct {
	ca, serverCert, serverKey, clientCert, clientKey string
}

func newCertificates(t *testing.T) certificates {
	t.Helper()
	ca, dir := nsqtest.NewCA(t), t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := func(name string, c tls.Certificate) (cert, key string) {
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		return file(name+".pem", "CERTIFICATE", c.Certificate[0]), file(name+".key", "PRIVATE KEY", der)
	}
	c := certificates{ca: file("ca.pem", "CERTIFICATE", ca.Cert.Raw)}
	c.serverCert, c.serverKey = pair("server", ca.Issue("127.0.0.1"))
	c.clientCert, c.clientKey = pair("client", ca.Issue())
	return c
}

// serve makes an nsqd offer TLS.
func (c certificates) serve(o *nsqd.Options) { o.TLSCert, o.TLSKey = c.serverCert, c.serverKey }

// serveMutual makes an nsqd require TLS and verify its clients. HTTP stays open for
// the harness.
func (c certificates) serveMutual(o *nsqd.Options) {
	c.serve(o)
	o.TLSClientAuthPolicy, o.TLSRootCAFile, o.TLSRequired = "require-verify", c.ca, nsqd.TLSRequiredExceptHTTP
}

// set sets options by name.
func set(t *testing.T, cfg *nsq.Config, options ...string) {
	t.Helper()
	for i := 0; i < len(options); i += 2 {
		if err := cfg.Set(options[i], options[i+1]); err != nil {
			t.Fatal(err)
		}
	}
}

func produce(t *testing.T, cfg *nsq.Config, n *NSQD, bodies ...string) error {
	t.Helper()
	p, err := nsq.NewProducer(n.TCPAddr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for _, body := range bodies {
		if err := p.Publish(topic, []byte(body)); err != nil {
			return err
		}
	}
	return nil
}

// Messages go both ways over every transport that nsqd has.
func TestTransports(t *testing.T) {
	const count = 1000
	certs := newCertificates(t)
	secure := []struct {
		name    string
		nsqd    func(*nsqd.Options)
		options []string
	}{
		{"plain", func(*nsqd.Options) {}, nil},
		{"verified", certs.serve, []string{"tls_root_ca_file", certs.ca}},
		{"mutual", certs.serveMutual, []string{"tls_root_ca_file", certs.ca, "tls_cert", certs.clientCert, "tls_key", certs.clientKey}},
	}
	for _, tt := range secure {
		n := StartNSQD(t, tt.nsqd)
		version := "TLS1.3"
		if n.old() {
			version = "TLS1.2" // the newest that nsqd 1.2.1 takes
		}
		for _, compression := range []string{"none", "snappy", "deflate"} {
			t.Run(tt.name+" "+compression, func(t *testing.T) {
				cfg := testConfig(t)
				set(t, cfg, tt.options...)
				if compression != "none" {
					set(t, cfg, compression, "true")
				}
				handled := newLedger()
				c := consume(t, cfg, 4, func(m *nsq.Message) error {
					handled.add(m.Body)
					return nil
				}, n)
				var bodies []string
				for i := range count {
					bodies = append(bodies, fmt.Sprint(compression, i, " ", strings.Repeat("body ", i)))
				}
				if err := produce(t, cfg, n, bodies...); err != nil {
					t.Fatal(err)
				}
				eventually(t, patience, func() bool { return handled.distinct() == count })
				for _, body := range bodies {
					if handled.done[body] != 1 {
						t.Errorf("a message of %d bytes was handled %d times", len(body), handled.done[body])
					}
				}
				client := n.Stats(topic, "c").Clients[0]
				if client.TLS != (tt.name != "plain") || client.TLS && client.TLSVersion != version ||
					client.Snappy != (compression == "snappy") || client.Deflate != (compression == "deflate") {
					t.Errorf("connected as %+v", client)
				}
				stop(t, c)
				eventually(t, patience, func() bool {
					s := n.Stats(topic, "c")
					return s.Depth == 0 && s.InFlight == 0 && s.TimeoutCount == 0 && len(s.Clients) == 0
				})
			})
		}
		if log := n.log.withoutPolls(); strings.Contains(log, "unexpected EOF") || strings.Contains(log, "failed to read command") {
			t.Errorf("nsqd logged that connections did not end cleanly:\n%s", log)
		}
	}
}

// The errors that a client without the right TLS gets.
func TestTLSErrors(t *testing.T) {
	certs, others := newCertificates(t), newCertificates(t)
	without := StartNSQD(t, nil)
	required := StartNSQD(t, func(o *nsqd.Options) { certs.serve(o); o.TLSRequired = nsqd.TLSRequiredExceptHTTP })
	mutual := StartNSQD(t, certs.serveMutual)
	isProtocol := func(code string) func(error) bool {
		return func(err error) bool {
			refused, ok := errors.AsType[*nsq.ProtocolError](err)
			return ok && refused.Code == code
		}
	}
	tests := []struct {
		name    string
		nsqd    *NSQD
		options []string
		is      func(error) bool
	}{
		{"plain to tls-required", required, nil, isProtocol("E_INVALID")},
		{"TLS to an nsqd without", without, []string{"tls_v1", "true"}, func(err error) bool { return errors.Is(err, nsq.ErrTLSRefused) }},
		{"unknown authority", required, []string{"tls_root_ca_file", others.ca}, func(err error) bool {
			_, ok := errors.AsType[*tls.CertificateVerificationError](err)
			return ok
		}},
		{"no client certificate", mutual, []string{"tls_root_ca_file", certs.ca}, func(err error) bool {
			if mutual.old() { // with TLS 1.2 the reason stays with nsqd
				return err != nil && strings.Contains(err.Error(), "remote error: tls: handshake failure")
			}
			return err != nil && strings.Contains(err.Error(), "certificate required")
		}},
		{"client certificate of another authority", mutual,
			[]string{"tls_root_ca_file", certs.ca, "tls_cert", others.clientCert, "tls_key", others.clientKey}, func(err error) bool {
				return err != nil && strings.Contains(err.Error(), "remote error: tls: ")
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			set(t, cfg, tt.options...)
			if err := produce(t, cfg, tt.nsqd, "hello"); !tt.is(err) {
				t.Errorf("Publish: %v", err)
			}
			if err := subscribe(t, cfg, tt.nsqd); !tt.is(err) {
				t.Errorf("ConnectToNSQD: %v", err)
			}
		})
	}
}

// subscribe connects a consumer, stops it, and returns the error of ConnectToNSQD.
func subscribe(t *testing.T, cfg *nsq.Config, n *NSQD) error {
	t.Helper()
	c, err := nsq.NewConsumer(topic, "c", cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
	err = c.ConnectToNSQD(n.TCPAddr())
	stop(t, c)
	return err
}

// nsqd asks an auth server about each AUTH, and the client reports what it decides.
func TestAuth(t *testing.T) {
	certs := newCertificates(t)
	authd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		grants := "[]"
		if r.FormValue("secret") == "open sesame" && r.FormValue("tls") == "true" {
			grants = `[{"topic":".*","channels":[".*"],"permissions":["subscribe","publish"]}]`
		}
		_, _ = fmt.Fprintf(w, `{"ttl":3600,"identity":"ali","authorizations":%s}`, grants)
	}))
	defer authd.Close()
	n := StartNSQD(t, func(o *nsqd.Options) {
		certs.serve(o)
		o.AuthHTTPAddresses = []string{authd.Listener.Addr().String()}
	})
	config := func(secret string) *nsq.Config {
		cfg := testConfig(t)
		set(t, cfg, "tls_root_ca_file", certs.ca, "snappy", "true", "auth_secret", secret)
		return cfg
	}
	expect := func(cfg *nsq.Config, code string) {
		t.Helper()
		for what, err := range map[string]error{"Publish": produce(t, cfg, n, "hello"), "ConnectToNSQD": subscribe(t, cfg, n)} {
			if refused, ok := errors.AsType[*nsq.ProtocolError](err); !ok || refused.Code != code {
				t.Errorf("%s: %v, want %s", what, err, code)
			}
		}
	}

	handled := newLedger()
	consume(t, config("open sesame"), 1, func(m *nsq.Message) error {
		handled.add(m.Body)
		return nil
	}, n)
	if err := produce(t, config("open sesame"), n, "hello"); err != nil {
		t.Error(err)
	}
	eventually(t, patience, func() bool { return handled.distinct() == 1 })
	if got := n.Stats(topic, "c").Clients[0].AuthIdentity; got != "ali" {
		t.Errorf("authenticated as %q", got)
	}
	expect(config("open barley"), "E_UNAUTHORIZED")
	if err := produce(t, config(""), n, "hello"); err == nil || !strings.Contains(err.Error(), "auth required") {
		t.Errorf("without a secret: %v", err)
	}
	authd.Close()
	expect(config("open sesame"), "E_AUTH_FAILED")
}
