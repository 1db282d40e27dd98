package nsq

import (
	"fmt"
	"reflect"
	"strings"
)

// Set gives an option its value by name, as flags and configuration files do.
// The name is that of the field's opt tag, with - or _, or one of the tls_
// options listed at TlsConfig. What is accepted follows from the type of the
// option:
//
//	duration    time.Duration, a string such as "1m30s", or milliseconds: an integer, as a string too
//	bool        bool, a string that strconv.ParseBool takes, or an integer (0 is false)
//	integer     an integer, or a string in base 10
//	float       a float, an integer, or a string
//	string      a string, []byte or fmt.Stringer, an integer or a float
//	local_addr  net.Addr, or "host:port"
//
// and for the others a value of the field's own type, besides the names of
// strategies described at BackoffStrategy. An integer is any of Go's but int8
// and uint8. A nil value is an error, unless it is of the field's own type, such as
// (*tls.Config)(nil): it sets the field to nil.
//
// Set returns an error, and changes nothing, if there is no such option, the
// value is of another type or does not fit the field, or it is out of range.
// It panics only if the Config does not stem from NewConfig.
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
