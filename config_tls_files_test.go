package nsq

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// pemFiles writes the certificate and key of a pair into two files.
func pemFiles(t *testing.T, dir string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, cert, "CERTIFICATE", pair.Certificate[0])
	writePEM(t, key, "PRIVATE KEY", der)
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// N25: certificates that were renewed in place, the client's and the roots, are used from
// the next handshake on. A renewal that is half written is not: it is logged, and the last
// good one is used.
func TestRenewedCertificates(t *testing.T) {
	dir := t.TempDir()
	var presented []string // by the client, at each handshake
	nsqds := nsqtest.NewCA(t)
	first := nsqtest.NewCA(t)
	cert, key := pemFiles(t, dir, first.Issue("first"))
	roots := filepath.Join(dir, "roots.pem")
	serve := func(ca *nsqtest.CA) *tls.Config {
		pair := ca.Issue("a")
		writePEM(t, roots, "CERTIFICATE", pair.Certificate[len(pair.Certificate)-1])
		return &tls.Config{
			Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert,
			VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
				c, err := x509.ParseCertificate(raw[0])
				if err == nil {
					presented = append(presented, c.DNSNames[0])
				}
				return err
			},
		}
	}
	inScene(t, func(s *scene) {
		served := serve(nsqds)
		s.nsqd("a:1", func(o *nsqtest.Options) {
			o.TLSConfig = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return served, nil }}
		})
		mustSet(s.cfg, "tls_cert", cert)
		mustSet(s.cfg, "tls_key", key)
		mustSet(s.cfg, "tls_root_ca_file", roots)
		p, err := NewProducer("a:1", s.cfg)
		if err != nil {
			s.Fatal(err)
		}
		defer p.Stop()
		log := &logLines{}
		p.SetLogger(log, LogLevelInfo)
		connects := func(as, logs string) {
			s.Helper()
			p.nsqd.mu.Lock()
			conn := p.nsqd.conn
			p.nsqd.mu.Unlock()
			if conn != nil {
				conn.link.Close(nil)
			}
			after(time.Minute)
			log.take()
			if err := p.Ping(); err != nil {
				s.Fatal(err)
			}
			synctest.Wait()
			if got := presented[len(presented)-1]; got != as {
				s.Errorf("the client is %s, want %s", got, as)
			}
			lines := matching(log.take(), "tls_")
			if logs == "" && len(lines) != 0 || logs != "" && (len(lines) != 1 || !strings.Contains(lines[0], logs)) {
				s.Errorf("logged %q, want %q", lines, logs)
			}
		}
		connects("first", "")
		connects("first", "")
		pemFiles(t, dir, first.Issue("second"))
		connects("second", "has changed")
		connects("second", "")
		writePEM(t, cert, "CERTIFICATE", first.Issue("third").Certificate[0]) // and the key later
		connects("second", cert)
		if err := os.Remove(cert); err != nil {
			s.Fatal(err)
		}
		connects("second", cert)
		pemFiles(t, dir, first.Issue("third"))
		connects("third", "has changed")
		served = serve(nsqtest.NewCA(t))
		connects("third", "tls_root_ca_file has changed")
	})
}

// N25: what the caller puts into TlsConfig after Set is not replaced.
func TestRenewalLeavesTheCallersAlone(t *testing.T) {
	dir := t.TempDir()
	ca := nsqtest.NewCA(t)
	cert, key := pemFiles(t, dir, ca.Issue("first"))
	c := NewConfig()
	mustSet(c, "tls_cert", cert)
	mustSet(c, "tls_key", key)
	mustSet(c, "tls_root_ca_file", cert)
	own := ca.Issue("own")
	c.TlsConfig.Certificates, c.TlsConfig.RootCAs = []tls.Certificate{own}, ca.Roots()
	c = c.clone()
	pemFiles(t, dir, ca.Issue("second"))
	cfg := c.TlsConfig.Clone()
	c.linkConfig("a:1", nil).RenewTLS(cfg)
	if !sameCertificate(&cfg.Certificates[0], &own) || cfg.RootCAs != c.TlsConfig.RootCAs {
		t.Error("the caller's own were replaced")
	}
	if NewConfig().linkConfig("a:1", nil).RenewTLS != nil {
		t.Error("without files there is something to renew")
	}
}

// N25: if the caller ignores the error of a Set, Validate returns that error, which names
// the file, and not a consequence.
func TestIgnoredErrorOfAKeyPair(t *testing.T) {
	cert, _ := writePair(t)
	missing := filepath.Join(t.TempDir(), "missing.pem")
	c := NewConfig()
	mustSet(c, "tls_cert", cert)
	_ = c.Set("tls_key", missing)
	if err := c.Validate(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing key: %v", err)
	}
	_ = c.Set("tls_key", cert)
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("a certificate as key: %v", err)
	}
	mustSet(c, "tls_cert", "")
	if err := c.Validate(); err != nil {
		t.Errorf("neither: %v", err)
	}
	mustSet(c, "tls_key", missing)
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "must be set together") {
		t.Errorf("tls_key alone: %v", err)
	}
}
