package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificate is a self-signed certificate for the nsqds of a demo.
type certificate struct {
	dir               string // temporary, holds the files
	certFile, keyFile string
	roots             *x509.CertPool // trusts the certificate
}

// newCertificate makes a certificate for the loopback addresses that is valid for
// a day.
func newCertificate() (c *certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "rdy demo"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c = &certificate{roots: x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.roots.AppendCertsFromPEM(certPEM)
	return c, c.write(certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// write writes the certificate and its key to files, from which nsqd reads them.
func (c *certificate) write(certPEM, keyPEM []byte) (err error) {
	if c.dir, err = os.MkdirTemp("", "rdy-demo-"); err != nil {
		return err
	}
	c.certFile, c.keyFile = filepath.Join(c.dir, "cert.pem"), filepath.Join(c.dir, "key.pem")
	for file, data := range map[string][]byte{c.certFile: certPEM, c.keyFile: keyPEM} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			_ = c.remove()
			return err
		}
	}
	return nil
}

func (c *certificate) remove() error { return os.RemoveAll(c.dir) }
