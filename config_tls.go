package nsq

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// tlsOptions are the options that have no field of their own: they edit TlsConfig. The
// functions get a Config whose TlsConfig is neither nil nor shared.
var tlsOptions = map[string]func(c *Config, option string, value any) error{
	"tls_root_ca_file":         setTLSRoots,
	"tls_cert":                 setTLSCert,
	"tls_key":                  setTLSKey,
	"tls_insecure_skip_verify": setTLSInsecure,
	"tls_min_version":          setTLSMinVersion,
}

var tlsVersions = map[string]uint16{
	"ssl3.0": tls.VersionTLS10,
	"tls1.0": tls.VersionTLS10,
	"tls1.1": tls.VersionTLS11,
	"tls1.2": tls.VersionTLS12,
	"tls1.3": tls.VersionTLS13,
}

// implyTLS switches TLS on if asked, that is, if another tls_ option asks for
// something, unless tls_v1 was set by name. The order in which options are set makes no
// difference: they may come from a map.
func (c *Config) implyTLS(asked bool) {
	if asked && !c.tlsDecided {
		c.TlsV1 = true
	}
}

// setTLS edits a copy, so that an error leaves c unchanged and the caller's
// tls.Config is never edited.
func (c *Config) setTLS(set func(*Config, string, any) error, option string, value any) error {
	edited := *c
	edited.TlsConfig = c.TlsConfig.Clone()
	if edited.TlsConfig == nil {
		edited.TlsConfig = &tls.Config{}
	}
	if err := set(&edited, option, value); err != nil {
		if option == "tls_cert" || option == "tls_key" {
			c.tlsPairError = err // for Validate, if the caller ignores it
		}
		return err
	}
	*c = edited
	return nil
}

func setTLSRoots(c *Config, option string, value any) error {
	path, err := coerceTo[string](option, value)
	if err != nil {
		return err
	}
	roots, err := openTLSFile(parseRoots, path)
	if errors.Is(err, errNoCertificate) {
		return fmt.Errorf("ERROR: %s: %w in %s", option, errNoCertificate, path)
	} else if err != nil {
		return fmt.Errorf("ERROR: %s: %w", option, err)
	}
	c.tlsRoots = roots
	c.TlsConfig.RootCAs = roots.first
	c.implyTLS(true)
	return nil
}

func setTLSCert(c *Config, option string, value any) (err error) {
	if c.tlsCertFile, err = coerceTo[string](option, value); err != nil {
		return err
	}
	c.implyTLS(c.tlsCertFile != "")
	return c.loadKeyPair(option)
}

func setTLSKey(c *Config, option string, value any) (err error) {
	if c.tlsKeyFile, err = coerceTo[string](option, value); err != nil {
		return err
	}
	c.implyTLS(c.tlsKeyFile != "")
	return c.loadKeyPair(option)
}

// loadKeyPair loads the client's certificate once both of its files are known.
func (c *Config) loadKeyPair(option string) error {
	c.tlsPairError = nil
	if c.tlsCertFile == "" || c.tlsKeyFile == "" {
		return nil
	}
	pair, err := openTLSFile(parseKeyPair, c.tlsCertFile, c.tlsKeyFile)
	if err != nil {
		return fmt.Errorf("ERROR: %s: %w", option, err)
	}
	c.tlsPair = pair
	c.TlsConfig.Certificates = []tls.Certificate{*pair.first}
	return nil
}

func setTLSInsecure(c *Config, option string, value any) (err error) {
	c.TlsConfig.InsecureSkipVerify, err = coerceTo[bool](option, value)
	c.implyTLS(c.TlsConfig.InsecureSkipVerify)
	return err
}

func setTLSMinVersion(c *Config, option string, value any) error {
	name, err := coerceTo[string](option, value)
	if err != nil {
		return err
	}
	version, ok := tlsVersions[name]
	if !ok {
		return fmt.Errorf("ERROR: %s: %q is none of ssl3.0, tls1.0, tls1.1, tls1.2, tls1.3", option, name)
	}
	c.TlsConfig.MinVersion = version
	c.implyTLS(true)
	return nil
}
