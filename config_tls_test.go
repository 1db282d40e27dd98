package nsq

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a self-signed certificate and its key, and returns their
// paths.
func writePair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der},
		key:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// D39: any TLS option switches TLS on, without a maximum version.
func TestConfigSetTLS(t *testing.T) {
	cert, key := writePair(t)
	for _, tc := range []struct {
		option string
		value  any
		check  func(*tls.Config) bool
	}{
		{"tls_root_ca_file", cert, func(c *tls.Config) bool { return c.RootCAs != nil }},
		{"tls-root-ca-file", []byte(cert), func(c *tls.Config) bool { return c.RootCAs != nil }},
		{"tls_cert", cert, func(c *tls.Config) bool { return len(c.Certificates) == 0 }},
		{"tls_key", key, func(c *tls.Config) bool { return len(c.Certificates) == 0 }},
		{"tls_insecure_skip_verify", true, func(c *tls.Config) bool { return c.InsecureSkipVerify }},
		{"tls-insecure-skip-verify", "1", func(c *tls.Config) bool { return c.InsecureSkipVerify }},
		{"tls_min_version", "ssl3.0", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS10 }},
		{"tls_min_version", "tls1.0", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS10 }},
		{"tls_min_version", "tls1.1", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS11 }},
		{"tls-min-version", "tls1.2", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS12 }},
		{"tls_min_version", "tls1.3", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }},
		{"tls_config", &tls.Config{ServerName: "n"}, func(c *tls.Config) bool { return c.ServerName == "n" }},
	} {
		c := NewConfig()
		if err := c.Set(tc.option, tc.value); err != nil {
			t.Errorf("Set(%s, %v): %v", tc.option, tc.value, err)
			continue
		}
		if !c.TlsV1 || c.TlsConfig.MaxVersion != 0 || !tc.check(c.TlsConfig) {
			t.Errorf("Set(%s, %v) left TlsV1 %v, TlsConfig %+v", tc.option, tc.value, c.TlsV1, c.TlsConfig)
		}
	}
	c := NewConfig()
	mustSet(c, "tls_config", &tls.Config{})
	if mustSet(c, "tls_config", (*tls.Config)(nil)); c.TlsConfig != nil || !c.TlsV1 {
		t.Errorf("nil left TlsV1 %v, TlsConfig %v", c.TlsV1, c.TlsConfig)
	}
	c = NewConfig()
	c.TlsConfig = &tls.Config{}
	if mustSet(c, "tls_v1", false); c.TlsV1 {
		t.Error("tls_v1 false switched TLS on")
	}
}

// Programs pass on all of their options, in any order. An option that asks for nothing
// does not switch TLS on, and tls_v1 overrides the others, before or after them.
func TestConfigSetTLSIsOff(t *testing.T) {
	for _, options := range [][][2]any{
		{{"tls_insecure_skip_verify", false}},
		{{"tls_insecure_skip_verify", 0}},
		{{"tls_cert", ""}, {"tls_key", ""}},
		{{"tls_v1", false}, {"tls_insecure_skip_verify", true}},
		{{"tls_insecure_skip_verify", true}, {"tls-v1", "false"}},
		{{"tls_v1", false}, {"tls_config", &tls.Config{}}},
		{{"tls_v1", false}, {"tls_min_version", "tls1.2"}},
	} {
		c := NewConfig()
		for _, option := range options {
			mustSet(c, option[0].(string), option[1])
		}
		if c.TlsV1 {
			t.Errorf("%v switched TLS on", options)
		}
	}
	c := NewConfig()
	mustSet(c, "tls_v1", true)
	mustSet(c, "tls_insecure_skip_verify", false)
	mustSet(c, "tls_cert", "")
	if !c.TlsV1 {
		t.Error("options that ask for nothing switched TLS off")
	}
}

func TestConfigSetTLSErrors(t *testing.T) {
	cert, key := writePair(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const versions = "is none of ssl3.0, tls1.0, tls1.1, tls1.2, tls1.3"
	for _, tc := range []struct {
		option string
		value  any
		want   string // how the error starts
	}{
		{"tls_root_ca_file", "", "ERROR: tls_root_ca_file: open : "},
		{"tls_root_ca_file", empty, "ERROR: tls_root_ca_file: no certificate in " + empty},
		{"tls_root_ca_file", key, "ERROR: tls_root_ca_file: no certificate in " + key},
		{"tls_root_ca_file", true, "failed to coerce option tls_root_ca_file (true) - invalid value type bool"},
		{"tls_cert", struct{}{}, "failed to coerce option tls_cert (struct {}) - invalid value type struct {}"},
		{"tls_cert", nil, "failed to coerce option tls_cert (<nil>) - value is nil"},
		{"tls-key", false, "failed to coerce option tls_key (false) - invalid value type bool"},
		{"tls_key", nil, "failed to coerce option tls_key (<nil>) - value is nil"},
		{"tls_insecure_skip_verify", "maybe", "failed to coerce option tls_insecure_skip_verify (maybe) - strconv."},
		{"tls_min_version", "tls1.4", `ERROR: tls_min_version: "tls1.4" ` + versions},
		{"tls_min_version", "", `ERROR: tls_min_version: "" ` + versions},
		{"tls_min_version", 1.2, `ERROR: tls_min_version: "1.2" ` + versions},
		{"tls_min_version", true, "failed to coerce option tls_min_version (true) - invalid value type bool"},
	} {
		c := NewConfig()
		err := c.Set(tc.option, tc.value)
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("Set(%s, %v): %v, want %s", tc.option, tc.value, err, tc.want)
		}
		if c.TlsV1 || c.TlsConfig != nil {
			t.Errorf("a refused Set(%s, %v) left TlsV1 %v, TlsConfig %v", tc.option, tc.value, c.TlsV1, c.TlsConfig)
		}
	}

	c := NewConfig()
	mustSet(c, "tls_cert", cert)
	if err := c.Set("tls_key", cert); err == nil || !strings.HasPrefix(err.Error(), "ERROR: tls_key: ") {
		t.Errorf("a certificate as key: %v", err)
	}
	if mustSet(c, "tls_key", key); len(c.TlsConfig.Certificates) != 1 {
		t.Error("the right key after a wrong one did not load the pair")
	}
}

func TestConfigSetTLSKeyPair(t *testing.T) {
	cert, key := writePair(t)
	for _, order := range [][2][2]string{
		{{"tls_cert", cert}, {"tls_key", key}},
		{{"tls_key", key}, {"tls_cert", cert}},
	} {
		c := NewConfig()
		for _, option := range order {
			mustSet(c, option[0], option[1])
		}
		mustSet(c, "tls_min_version", "tls1.3")
		if len(c.TlsConfig.Certificates) != 1 || c.TlsConfig.MinVersion != tls.VersionTLS13 {
			t.Errorf("%v left %+v", order, c.TlsConfig)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigSetTLSLeavesTheCallersAlone(t *testing.T) {
	given := &tls.Config{ServerName: "nsqd.internal"}
	c := NewConfig()
	mustSet(c, "tls_config", given)
	mustSet(c, "tls_insecure_skip_verify", true)
	if given.InsecureSkipVerify {
		t.Error("Set edited the caller's tls.Config")
	}
	if !c.TlsConfig.InsecureSkipVerify || c.TlsConfig.ServerName != "nsqd.internal" {
		t.Errorf("the edited copy is %+v", c.TlsConfig)
	}
}

// A tls.Config given by value must not put its private key into an error text.
func TestConfigSetErrorsShowNoSecrets(t *testing.T) {
	secret := tls.Certificate{Certificate: [][]byte{[]byte("SECRET")}}
	err := NewConfig().Set("tls_config", []tls.Certificate{secret})
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("83 69 67")) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}
