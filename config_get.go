package nsq

import (
	"crypto/tls"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// OptionNames returns the names of all options, sorted: those in the opt tags of Config,
// and the tls_ options that have no field. [Config.Set] and [Config.Get] accept them.
func OptionNames() iter.Seq[string] {
	names := slices.Collect(maps.Keys(tlsOptions))
	for field := range new(Config).options() {
		names = append(names, field.Tag.Get("opt"))
	}
	slices.Sort(names)
	return slices.Values(names)
}

// Get returns the value of an option. The name may have - in place of _, as in
// [Config.Set]. The result is the value of the field; what it points to is not copied. The
// value of auth_secret is "[redacted]", or "" if it is not set. These tls_ options have no
// field:
//
//	tls_root_ca_file          string: the path as it was set
//	tls_cert, tls_key         string: the path as it was set
//	tls_insecure_skip_verify  bool: from TlsConfig
//	tls_min_version           string: from TlsConfig, such as "tls1.2"; "" for Go's default
//
// Get returns an error if no option has this name. It panics if the Config was not made by
// [NewConfig].
func (c *Config) Get(option string) (any, error) {
	c.mustBeInitialized()
	option = strings.ReplaceAll(option, "-", "_")
	if option == "auth_secret" && c.AuthSecret != "" {
		return redacted, nil
	}
	if _, ok := tlsOptions[option]; ok {
		return c.getTLS(option), nil
	}
	for field, value := range c.options() {
		if field.Tag.Get("opt") == option {
			return value.Interface(), nil
		}
	}
	return nil, fmt.Errorf("invalid option %s", option)
}

// getTLS returns an option of tlsOptions.
func (c *Config) getTLS(option string) any {
	cfg := c.TlsConfig
	if cfg == nil {
		cfg = &tls.Config{} // #nosec G402 -- only read
	}
	switch option {
	case "tls_root_ca_file":
		if c.tlsRoots == nil {
			return ""
		}
		return c.tlsRoots.paths[0]
	case "tls_cert":
		return c.tlsCertFile
	case "tls_key":
		return c.tlsKeyFile
	case "tls_insecure_skip_verify":
		return cfg.InsecureSkipVerify
	}
	for name, version := range tlsVersions {
		if version == cfg.MinVersion && name != "ssl3.0" {
			return name
		}
	}
	return ""
}
