package nsq

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
)

// tlsFile is what was read from the files that a tls_ option names. Each TLS handshake
// reads them again, since certificates are renewed in place. Copies of a Config share it.
type tlsFile[T any] struct {
	paths []string
	parse func(contents [][]byte) (T, error)
	first T // what Set has read; a tls.Config that still holds it is kept up to date

	mu       sync.Mutex // guards what follows
	contents [][]byte   // of the files, as last parsed
	value    T
}

// openTLSFile reads and parses files.
func openTLSFile[T any](parse func([][]byte) (T, error), paths ...string) (*tlsFile[T], error) {
	f := &tlsFile[T]{paths: paths, parse: parse}
	value, _, err := f.read()
	f.first = value
	return f, err
}

// read reads the files again. If that fails, for example because a renewal is only half
// written, it returns the error and the last value. changed reports whether the files have
// changed since they were last parsed.
func (f *tlsFile[T]) read() (value T, changed bool, err error) {
	contents := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		content, err := os.ReadFile(path) // #nosec G304 -- the user names the file
		if err != nil {
			return f.last(), false, err
		}
		contents[i] = content
	}
	f.mu.Lock()
	value, same := f.value, slices.EqualFunc(contents, f.contents, bytes.Equal)
	f.mu.Unlock()
	if same {
		return value, false, nil
	}
	parsed, err := f.parse(contents)
	if err != nil {
		return value, false, fmt.Errorf("%s: %w", strings.Join(f.paths, ", "), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contents, f.value = contents, parsed
	return parsed, true, nil
}

// last returns the value that was last parsed.
func (f *tlsFile[T]) last() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value
}

// renew is read for a handshake. It logs a change, and a failure.
func (f *tlsFile[T]) renew(log *slog.Logger, what string) T {
	value, changed, err := f.read()
	switch {
	case err != nil:
		log.WarnContext(repeating, what+" cannot be read again, using what was read before", "err", err)
	case changed:
		log.Info(what + " has changed, using the new one")
	}
	return value
}

func parseKeyPair(contents [][]byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	return &pair, err
}

var errNoCertificate = errors.New("no certificate")

func parseRoots(contents [][]byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(contents[0]) {
		return nil, errNoCertificate
	}
	return roots, nil
}

// renewTLS returns a function that brings the tls.Config of a handshake up to date: the
// client's certificate and the roots, if they came from files and the program has not
// replaced them since. It returns nil if there are no files.
func (c *Config) renewTLS(log *slog.Logger) func(*tls.Config) {
	pair, roots := c.tlsPair, c.tlsRoots
	if pair == nil && roots == nil {
		return nil
	}
	return func(cfg *tls.Config) {
		if pair != nil && len(cfg.Certificates) == 1 && sameCertificate(&cfg.Certificates[0], pair.first) {
			cfg.Certificates = []tls.Certificate{*pair.renew(log, "the certificate of tls_cert and tls_key")}
		}
		if roots != nil && cfg.RootCAs == roots.first {
			cfg.RootCAs = roots.renew(log, "tls_root_ca_file")
		}
	}
}

// sameCertificate reports whether a is a copy of b.
func sameCertificate(a, b *tls.Certificate) bool {
	return len(a.Certificate) > 0 && len(b.Certificate) > 0 && &a.Certificate[0] == &b.Certificate[0]
}
