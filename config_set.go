package nsq

import (
	"fmt"
	"reflect"
	"strings"
)

// Set sets an option by name, for flags and configuration files. The name is that
// of a field's opt tag, with - or _, or one of the tls_ options listed at TlsConfig.
// The option's type determines which values Set accepts:
//
//	duration    time.Duration, a string such as "1m30s", or milliseconds: 250 or "250"
//	bool        bool, a string that strconv.ParseBool takes, or an integer (0 is false)
//	integer     an integer, or a string in base 10
//	float       a float, an integer, or a string
//	string      a string, []byte or fmt.Stringer, an integer or a float
//	local_addr  net.Addr, or "host:port"
//
// Other options take a value of the field's type; BackoffStrategy also takes the
// names listed there. An integer may have any of Go's integer types but int8 and uint8.
// A nil value is an error unless it has the field's type, such as
// (*tls.Config)(nil), which sets the field to nil.
//
// Set returns an error and changes nothing if no option has this name, or if the
// value has the wrong type, does not fit the field or is out of range. It panics only
// if the Config is not from NewConfig.
func (c *Config) Set(option string, value any) error {
	c.mustBeInitialized()
	option = strings.ReplaceAll(option, "-", "_")
	if set, ok := tlsOptions[option]; ok {
		return c.setTLS(set, option, value)
	}
	for field, target := range c.options() {
		if field.Tag.Get("opt") == option {
			return c.setField(field, target, option, value)
		}
	}
	return fmt.Errorf("invalid option %s", option)
}

func (c *Config) setField(field reflect.StructField, target reflect.Value, option string, value any) error {
	coerced, err := coerce(value, field.Type)
	if err != nil {
		return coerceError(option, value, err)
	}
	if err := checkRange(option, field, coerced); err != nil {
		return err
	}
	target.Set(coerced)
	switch option {
	case "backoff_strategy":
		c.BackoffStrategy = bindStrategy(c.BackoffStrategy, &c.BackoffMultiplier)
	case "tls_v1":
		c.tlsDecided = true
	case "tls_config":
		c.implyTLS(c.TlsConfig != nil)
	}
	return nil
}
