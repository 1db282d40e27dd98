package transcripts

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq/nsqtest"
)

// A config is the options of both nsqds. What the fake cannot do on its own a fault has
// it do, as a user's test would.
type config struct {
	real      func(*nsqd.Options)
	noDisk    bool // the real nsqd's directory is gone
	restarts  bool // each script has a server of its own
	fake      nsqtest.Options
	faults    []nsqtest.Fault
	clientTLS *tls.Config
	server    *server // with the real options
}

// configs returns the configs by name. Each has a running server.
func configs(t *testing.T) map[string]config {
	t.Helper()
	ca := nsqtest.NewCA(t)
	cert := ca.Issue("127.0.0.1")
	files := writeTLS(t, ca, cert)
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	verifying := serverTLS.Clone()
	verifying.ClientAuth, verifying.ClientCAs = tls.RequireAndVerifyClientCert, ca.Roots()
	clientTLS := &tls.Config{RootCAs: ca.Roots(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	withCert := clientTLS.Clone()
	withCert.Certificates = []tls.Certificate{ca.Issue()}

	all := map[string]config{
		"default": {},
		"limits": {
			real: func(o *nsqd.Options) {
				o.MaxMsgSize, o.MaxBodySize, o.MaxRdyCount = 100, 1000, 5
				o.MaxMsgTimeout, o.MaxReqTimeout, o.MaxHeartbeatInterval = time.Minute, time.Minute, 2*time.Minute
				o.MaxOutputBufferSize = 1 << 20
				o.MinOutputBufferTimeout, o.MaxOutputBufferTimeout = 10*time.Millisecond, time.Second
			},
			fake: nsqtest.Options{
				MaxMsgSize: 100, MaxBodySize: 1000, MaxRdyCount: 5,
				MaxMsgTimeout: time.Minute, MaxReqTimeout: time.Minute, MaxHeartbeatInterval: 2 * time.Minute,
				MaxOutputBufferSize:    1 << 20,
				MinOutputBufferTimeout: 10 * time.Millisecond, MaxOutputBufferTimeout: time.Second,
			},
		},
		"short": {
			real: func(o *nsqd.Options) {
				o.MsgTimeout, o.MaxMsgTimeout, o.MaxReqTimeout = 4*time.Second, 4*time.Second, 4*time.Second
			},
			fake: nsqtest.Options{
				MsgTimeout: 4 * time.Second, MaxMsgTimeout: 4 * time.Second, MaxReqTimeout: 4 * time.Second,
			},
		},
		"touch": { // the default timeout is longer
			real: func(o *nsqd.Options) { o.MaxMsgTimeout = 5 * time.Second },
			fake: nsqtest.Options{MaxMsgTimeout: 5 * time.Second},
		},
		"compression": {fake: nsqtest.Options{Snappy: true, Deflate: true}},
		"TLS": {
			real:      files.set,
			fake:      nsqtest.Options{TLSConfig: serverTLS, Snappy: true, Deflate: true},
			clientTLS: clientTLS,
		},
		"TLS required": {
			real:      func(o *nsqd.Options) { files.set(o); o.TLSRequired = nsqd.TLSRequiredExceptHTTP },
			fake:      nsqtest.Options{TLSConfig: serverTLS, TLSRequired: true},
			clientTLS: clientTLS,
		},
		"certificate": {
			real:      files.verify,
			fake:      nsqtest.Options{TLSConfig: verifying, TLSRequired: true},
			clientTLS: withCert,
		},
		"no certificate": {
			real:      files.verify,
			fake:      nsqtest.Options{TLSConfig: verifying, TLSRequired: true},
			clientTLS: clientTLS,
		},
		"no compression": {real: func(o *nsqd.Options) { o.SnappyEnabled, o.DeflateEnabled = false, false }},
		"auth": {
			real:   func(o *nsqd.Options) { o.AuthHTTPAddresses = []string{startAuth(t)} },
			fake:   nsqtest.Options{AuthSecret: "secret"},
			faults: []nsqtest.Fault{failing("AUTH", "E_AUTH_FAILED", "AUTH failed", isBroken)},
		},
		"no disk": {
			real:   func(o *nsqd.Options) { o.MemQueueSize = 0 },
			noDisk: true,
			faults: []nsqtest.Fault{
				failing("PUB", "E_PUB_FAILED", "PUB failed <cause>", nil),
				failing("MPUB", "E_MPUB_FAILED", "MPUB failed <cause>", nil),
				failing("DPUB", "E_DPUB_FAILED", "DPUB failed <cause>", nil),
			},
		},
		"one consumer": {
			real: func(o *nsqd.Options) { o.MaxChannelConsumers = 1 },
			faults: []nsqtest.Fault{{
				Command: "SUB", Skip: 1, Close: true,
				Reply: nsqtest.ErrorFrame("E_SUB_FAILED", "SUB failed consumers for t1:c exceeds limit of 1"),
			}},
		},
		"restarts": {restarts: true},
		"memory":   {real: func(o *nsqd.Options) { o.MemQueueSize = 2 }},
	}
	for name, c := range all {
		if !c.restarts {
			c.server = startServer(t, c)
			all[name] = c
		}
	}
	return all
}

// failing has the fake refuse commands, which closes the connection.
func failing(command, code, desc string, match func(nsqtest.Command) bool) nsqtest.Fault {
	return nsqtest.Fault{Command: command, Match: match, Reply: nsqtest.ErrorFrame(code, desc), Close: true}
}

func isBroken(c nsqtest.Command) bool { return string(c.Body) == "broken" }

// startAuth starts an auth server. "secret" may do everything, "limited" may only publish
// to topics that begin with t1, "broken" makes the server fail.
func startAuth(t *testing.T) (addr string) {
	t.Helper()
	const all = `{"topic":".*","channels":[".*"],"permissions":["subscribe","publish"]}`
	const limited = `{"topic":"^t1","channels":[".*"],"permissions":["publish"]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorizations := ""
		switch r.URL.Query().Get("secret") {
		case "secret":
			authorizations = all
		case "limited":
			authorizations = limited
		case "broken":
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"ttl":3600,"identity":"nsqtest","authorizations":[%s]}`, authorizations)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// tlsFiles are the files that the real nsqd reads.
type tlsFiles struct{ cert, key, ca string }

func (f tlsFiles) set(o *nsqd.Options) { o.TLSCert, o.TLSKey = f.cert, f.key }

func (f tlsFiles) verify(o *nsqd.Options) {
	f.set(o)
	o.TLSRootCAFile, o.TLSClientAuthPolicy, o.TLSRequired = f.ca, "require-verify", nsqd.TLSRequiredExceptHTTP
}

func writeTLS(t *testing.T, ca *nsqtest.CA, cert tls.Certificate) tlsFiles {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tlsFiles{
		cert: write("cert.pem", "CERTIFICATE", cert.Certificate[0]),
		key:  write("key.pem", "PRIVATE KEY", key),
		ca:   write("ca.pem", "CERTIFICATE", ca.Cert.Raw),
	}
}
