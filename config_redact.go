package nsq

import (
	"fmt"
	"log/slog"
)

// redacted stands in for AuthSecret.
const redacted = "[redacted]"

// Format prints the Config as package fmt prints any struct, for every verb, but with
// "[redacted]" in place of AuthSecret. It cannot do so for a Config that lies by value in
// an unexported field of another struct: of that, fmt calls no methods.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config // without methods
	if c.AuthSecret != "" {
		c.AuthSecret = redacted
	}
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// LogValue returns a group with the options by their names, for package slog. AuthSecret
// is "[redacted]". Options that hold code or objects, such as logger and tls_config, show
// only whether they are set, and hooks shows only how many there are.
func (c Config) LogValue() slog.Value {
	if c.AuthSecret != "" {
		c.AuthSecret = redacted
	}
	var attrs []slog.Attr
	for field, value := range c.options() {
		name := field.Tag.Get("opt")
		switch name {
		case "dial_context", "tls_config", "logger", "dead_letter":
			attrs = append(attrs, slog.Bool(name, !value.IsNil()))
		case "hooks":
			attrs = append(attrs, slog.Int(name, len(c.Hooks)))
		case "backoff_strategy":
			attrs = append(attrs, slog.String(name, fmt.Sprintf("%T", c.BackoffStrategy)))
		case "local_addr":
			text := ""
			if c.LocalAddr != nil {
				text = c.LocalAddr.String()
			}
			attrs = append(attrs, slog.String(name, text))
		default:
			attrs = append(attrs, slog.Any(name, value.Interface()))
		}
	}
	return slog.GroupValue(attrs...)
}
