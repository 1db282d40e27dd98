package nsqtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// A CA issues certificates for tests. They are valid today, and on the date at
// which a synctest bubble's clock starts. Make one with [NewCA].
type CA struct {
	Cert *x509.Certificate

	tb     testing.TB
	key    ed25519.PrivateKey
	issued int64 // the last serial number
}

// NewCA makes a certificate authority. Only clients and servers that are given its
// Roots trust it.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca := &CA{tb: tb}
	template := ca.template("nsqtest CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	ca.key = ca.newKey()
	ca.Cert = ca.sign(template, template, ca.key)
	return ca
}

// Roots returns a pool with only this CA in it.
func (ca *CA) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// Issue makes a certificate for a server at the given hosts, each a name or an IP
// address. A client's certificate needs no hosts.
func (ca *CA) Issue(hosts ...string) tls.Certificate {
	ca.tb.Helper()
	template := ca.template("nsqtest")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key := ca.newKey()
	leaf := ca.sign(template, ca.Cert, key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

func (ca *CA) template(name string) *x509.Certificate {
	ca.issued++
	return &x509.Certificate{
		SerialNumber: big.NewInt(ca.issued),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func (ca *CA) newKey() ed25519.PrivateKey {
	ca.tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		ca.tb.Fatal(err)
	}
	return key
}

func (ca *CA) sign(template, parent *x509.Certificate, key ed25519.PrivateKey) *x509.Certificate {
	ca.tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), ca.key)
	if err != nil {
		ca.tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.tb.Fatal(err)
	}
	return cert
}
