package nsq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func sprint(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// expectError compares the text of err; "" is no error.
func expectError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func panicOf(f func()) (got any) {
	defer func() { got = recover() }()
	f()
	return nil
}

func mustSet(c *Config, option string, value any) {
	if err := c.Set(option, value); err != nil {
		panic(err)
	}
}

type (
	namedString string
	named       int
	shown       struct{ text string }
)

func (s shown) String() string { return s.text }

// coercion is a value, and what Set makes of it for an option of some type: want, or an
// error with this cause.
type coercion struct {
	value any
	want  any
	cause string
}

var (
	badInt  = func(s string) string { return `strconv.ParseInt: parsing "` + s + `": invalid syntax` }
	typeErr = func(v any) string { return sprint("invalid value type %T", v) }
)

var durationCoercions = []coercion{
	{value: "1m30s", want: 90 * time.Second},
	{value: "1.5s", want: 1500 * time.Millisecond},
	{value: "5s", want: 5 * time.Second},
	{value: "2000", want: 2 * time.Second},
	{value: "+2000", want: 2 * time.Second},
	{value: 1500 * time.Millisecond, want: 1500 * time.Millisecond},
	{value: int(2000), want: 2 * time.Second},
	{value: int16(2000), want: 2 * time.Second},
	{value: int32(2000), want: 2 * time.Second},
	{value: int64(2000), want: 2 * time.Second},
	{value: uint(2000), want: 2 * time.Second},
	{value: uint16(2000), want: 2 * time.Second},
	{value: uint32(2000), want: 2 * time.Second},
	{value: uint64(2000), want: 2 * time.Second},
	{value: int8(20), cause: typeErr(int8(0))},
	{value: uint8(20), cause: typeErr(uint8(0))},
	{value: named(2000), cause: typeErr(named(0))},
	{value: 2000.0, cause: typeErr(0.0)},
	{value: true, cause: typeErr(true)},
	{value: []int{1}, cause: typeErr([]int{})},
	{value: nil, cause: "value is nil"},
	{value: "", cause: `time: invalid duration ""`},
	{value: "soon", cause: `time: invalid duration "soon"`},
	{value: "1.5", cause: `time: missing unit in duration "1.5"`},
	{value: "1 s", cause: `time: unknown unit " s" in duration "1 s"`},
	{value: "99999999999999999999", cause: `time: invalid duration "99999999999999999999"`},
	{value: int64(math.MaxInt64), cause: "value does not fit in a duration"},
	{value: int64(math.MinInt64), cause: "value does not fit in a duration"},
	{value: "9223372036855", cause: "value does not fit in a duration"},
	{value: uint64(math.MaxUint64), cause: "value does not fit"},
}

var boolCoercions = []coercion{
	{value: true, want: true}, {value: false, want: false},
	{value: "true", want: true}, {value: "false", want: false}, {value: "T", want: true}, {value: "F", want: false},
	{value: "1", want: true}, {value: "0", want: false},
	{value: 1, want: true}, {value: 0, want: false}, {value: -7, want: true},
	{value: int16(2), want: true}, {value: int32(0), want: false}, {value: int64(2), want: true},
	{value: uint(0), want: false}, {value: uint16(2), want: true}, {value: uint32(2), want: true},
	{value: uint64(0), want: false},
	{value: "", cause: `strconv.ParseBool: parsing "": invalid syntax`},
	{value: "yes", cause: `strconv.ParseBool: parsing "yes": invalid syntax`},
	{value: "2", cause: `strconv.ParseBool: parsing "2": invalid syntax`},
	{value: 1.0, cause: typeErr(1.0)},
	{value: int8(1), cause: typeErr(int8(0))},
	{value: time.Second, cause: typeErr(time.Second)},
	{value: nil, cause: "value is nil"},
}

// integerCoercions apply to integer types of any size. Tests compare numbers in want by
// value.
var integerCoercions = []coercion{
	{value: "7", want: 7}, {value: "+7", want: 7}, {value: "007", want: 7},
	{value: 7, want: 7}, {value: int16(7), want: 7}, {value: int32(7), want: 7}, {value: int64(7), want: 7},
	{value: uint(7), want: 7}, {value: uint16(7), want: 7}, {value: uint32(7), want: 7}, {value: uint64(7), want: 7},
	{value: "", cause: badInt("")}, {value: "seven", cause: badInt("seven")}, {value: "0x7", cause: badInt("0x7")},
	{value: "7.0", cause: badInt("7.0")}, {value: "1_0", cause: badInt("1_0")}, {value: " 7", cause: badInt(" 7")},
	{value: "7\n", cause: `strconv.ParseInt: parsing "7\n": invalid syntax`},
	{value: "99999999999999999999",
		cause: `strconv.ParseInt: parsing "99999999999999999999": value out of range`},
	{value: int8(7), cause: typeErr(int8(0))}, {value: uint8(7), cause: typeErr(uint8(0))},
	{value: named(7), cause: typeErr(named(0))}, {value: 7.0, cause: typeErr(7.0)},
	{value: time.Second, cause: typeErr(time.Second)}, {value: true, cause: typeErr(true)},
	{value: struct{}{}, cause: typeErr(struct{}{})}, {value: nil, cause: "value is nil"},
	{value: uint64(math.MaxUint64), cause: "value does not fit"},
	{value: uint64(math.MaxInt64 + 1), cause: "value does not fit"},
}

var floatCoercions = []coercion{
	{value: "0.5", want: 0.5}, {value: "1", want: 1.0}, {value: "5e-1", want: 0.5},
	{value: 0.25, want: 0.25}, {value: float32(0.25), want: 0.25},
	{value: 1, want: 1.0}, {value: int16(1), want: 1.0}, {value: int32(0), want: 0.0}, {value: int64(1), want: 1.0},
	{value: uint(1), want: 1.0}, {value: uint16(1), want: 1.0}, {value: uint32(1), want: 1.0},
	{value: uint64(1), want: 1.0},
	{value: "", cause: `strconv.ParseFloat: parsing "": invalid syntax`},
	{value: "half", cause: `strconv.ParseFloat: parsing "half": invalid syntax`},
	{value: "1e999", cause: `strconv.ParseFloat: parsing "1e999": value out of range`},
	{value: int8(1), cause: typeErr(int8(0))}, {value: true, cause: typeErr(true)},
	{value: time.Second, cause: typeErr(time.Second)}, {value: nil, cause: "value is nil"},
}

var stringCoercions = []coercion{
	{value: "text", want: "text"}, {value: "", want: ""}, {value: "a,b\n", want: "a,b\n"},
	{value: namedString("text"), want: "text"}, {value: []byte("text"), want: "text"},
	{value: shown{"text"}, want: "text"}, {value: 5 * time.Second, want: "5s"},
	{value: 7, want: "7"}, {value: int16(-7), want: "-7"}, {value: int32(7), want: "7"}, {value: int64(7), want: "7"},
	{value: uint(7), want: "7"}, {value: uint16(7), want: "7"}, {value: uint32(7), want: "7"},
	{value: uint64(7), want: "7"},
	{value: 1.5, want: "1.5"}, {value: float32(0.1), want: "0.1"}, {value: 1e6, want: "1000000"},
	{value: true, cause: typeErr(true)}, {value: struct{ s string }{}, cause: typeErr(struct{ s string }{})},
	{value: []string{"a"}, cause: typeErr([]string{})}, {value: map[string]int{}, cause: typeErr(map[string]int{})},
	{value: nil, cause: "value is nil"}, {value: (*shown)(nil), cause: "value is nil"},
	{value: []byte(nil), cause: "value is nil"},
}

// coercionsFor returns the table for the type of an option, nil if it has none. Some
// values may be outside the option's range.
func coercionsFor(t *testing.T, spec optionSpec) []coercion {
	t.Helper()
	switch spec.def.(type) {
	case time.Duration:
		return durationCoercions
	case bool:
		return boolCoercions
	case int, int32, int64, uint16:
		return integerCoercions
	case float64:
		return floatCoercions
	case string:
		return stringCoercions
	}
	return nil
}

func TestConfigSetCoercions(t *testing.T) {
	checked := 0
	for _, spec := range optionSpecs {
		for _, co := range coercionsFor(t, spec) {
			checked++
			c := NewConfig()
			err := c.Set(spec.option, co.value)
			got := fieldOf(c, spec.field).Interface()
			switch {
			case co.cause != "":
				shown := printable(co.value)
				if spec.option == "auth_secret" {
					shown = sprint("%T", co.value)
				}
				expectError(t, err, sprint("failed to coerce option %s (%s) - %s", spec.option, shown, co.cause))
				if !reflect.DeepEqual(got, spec.def) {
					t.Errorf("a refused Set(%s, %v) left %v", spec.option, co.value, got)
				}
			case outside(spec, co.want):
				if err == nil || !strings.HasPrefix(err.Error(), sprint("invalid %s ! %v ", spec.option, co.want)) {
					t.Errorf("Set(%s, %v): %v, want it out of range", spec.option, co.value, err)
				}
			case err != nil:
				t.Errorf("Set(%s, %#v): %v", spec.option, co.value, err)
			case sprint("%v", got) != sprint("%v", co.want):
				t.Errorf("Set(%s, %#v) left %v, want %v", spec.option, co.value, got, co.want)
			}
		}
	}
	if checked < 600 {
		t.Errorf("only %d pairs checked", checked)
	}
}

// outside reports whether value is a duration outside the range of an option.
func outside(spec optionSpec, value any) bool {
	d, ok := value.(time.Duration)
	if !ok {
		return false
	}
	lowest, bounded := spec.min.(time.Duration)
	if bounded && d < lowest {
		return true
	}
	highest, bounded := spec.max.(time.Duration)
	return bounded && d > highest
}

// Set handles values with which go-nsq panics, wraps around or fails without need, and
// other special values.
func TestConfigSetSpecialValues(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 0}
	unix := &net.UnixAddr{Name: "/run/x", Net: "unix"}
	var noStrategy *ExponentialStrategy
	var noDial func(context.Context, string, string) (net.Conn, error)
	own := constantStrategy(time.Second)
	coerceErr := func(option, value, cause string) string {
		return sprint("failed to coerce option %s (%s) - %s", option, value, cause)
	}
	for _, tc := range []struct {
		option  string
		value   any
		field   string
		want    any
		wantErr string
	}{
		{"", true, "", nil, "invalid option "},
		{"initialized", false, "", nil, "invalid option initialized"},
		{"MaxInFlight", 1, "", nil, "invalid option MaxInFlight"},
		{"max_inflight", 1, "", nil, "invalid option max_inflight"},
		{"MAX_IN_FLIGHT", 1, "", nil, "invalid option MAX_IN_FLIGHT"},
		{" max_in_flight", 1, "", nil, "invalid option  max_in_flight"},
		{"no-such-option", nil, "", nil, "invalid option no_such_option"},
		{"tls_nothing", 1, "", nil, "invalid option tls_nothing"},

		{"max-in-flight", 200, "MaxInFlight", 200, ""},
		{"max_in-flight", "200", "MaxInFlight", 200, ""},
		{"max_in_flight", -1, "MaxInFlight", 1, "invalid max_in_flight ! -1 < 0"},
		{"max-in-flight", "-1", "MaxInFlight", 1, "invalid max_in_flight ! -1 < 0"},
		{"max_in_flight", math.MaxInt, "MaxInFlight", math.MaxInt, ""},

		{"max_attempts", -1, "MaxAttempts", uint16(5), coerceErr("max_attempts", "-1", "value does not fit in uint16")},
		{"max_attempts", "-1", "MaxAttempts", uint16(5), coerceErr("max_attempts", "-1", "value does not fit in uint16")},
		{"max_attempts", 70000, "MaxAttempts", uint16(5), coerceErr("max_attempts", "70000", "value does not fit in uint16")},
		{"max_attempts", 65536, "MaxAttempts", uint16(5), coerceErr("max_attempts", "65536", "value does not fit in uint16")},
		{"max_attempts", 65535, "MaxAttempts", uint16(65535), ""},
		{"max_attempts", 0, "MaxAttempts", uint16(0), ""},
		{"sample_rate", int64(1 << 32), "SampleRate", int32(0), coerceErr("sample_rate", "4294967296", "value does not fit in int32")},
		{"max_msg_size", int64(1 << 31), "MaxMsgSize", int32(0), coerceErr("max_msg_size", "2147483648", "value does not fit in int32")},
		{"max_msg_size", "2147483647", "MaxMsgSize", int32(math.MaxInt32), ""},
		{"output_buffer_size", int64(math.MinInt64), "OutputBufferSize", int64(math.MinInt64), ""},
		{"output_buffer_size", "-1", "OutputBufferSize", int64(-1), ""},

		{"output_buffer_timeout", "-1", "OutputBufferTimeout", -time.Millisecond, ""},
		{"output_buffer_timeout", -1, "OutputBufferTimeout", -time.Millisecond, ""},
		{"output-buffer-timeout", "-1ms", "OutputBufferTimeout", -time.Millisecond, ""},
		{"heartbeat_interval", "-1", "HeartbeatInterval", -time.Millisecond, ""},
		{"heartbeat_interval", int64(-1), "HeartbeatInterval", -time.Millisecond, ""},
		{"heartbeat_interval", "10m", "HeartbeatInterval", 10 * time.Minute, ""},
		{"read_timeout", "1ms", "ReadTimeout", time.Minute, "invalid read_timeout ! 1ms < 100ms"},
		{"read_timeout", "301s", "ReadTimeout", time.Minute, "invalid read_timeout ! 5m1s > 5m0s"},
		{"max_backoff_duration", "-1", "MaxBackoffDuration", 2 * time.Minute, "invalid max_backoff_duration ! -1ms < 0s"},
		{"lookupd_poll_jitter", "NaN", "LookupdPollJitter", 0.3, "invalid lookupd_poll_jitter ! NaN < 0"},
		{"lookupd_poll_jitter", math.NaN(), "LookupdPollJitter", 0.3, "invalid lookupd_poll_jitter ! NaN < 0"},
		{"lookupd_poll_jitter", "inf", "LookupdPollJitter", 0.3, "invalid lookupd_poll_jitter ! +Inf > 1"},
		{"lookupd_poll_jitter", -0.1, "LookupdPollJitter", 0.3, "invalid lookupd_poll_jitter ! -0.1 < 0"},
		{"skip_lookupd_authorization", false, "LookupdAuthorization", false, ""},
		{"skip-lookupd-authorization", "true", "LookupdAuthorization", true, ""},

		{"backoff_strategy", own, "BackoffStrategy", own, ""},
		{"rdy_strategy", "uniform", "RDYStrategy", RDYUniform, ""},
		{"rdy_strategy", "", "RDYStrategy", RDYStrategy(""), ""},
		{"rdy_strategy", RDYStrategy("x"), "", nil, `invalid rdy_strategy ! "x" is none of: adaptive uniform`},
		{"rdy_strategy", true, "", nil, coerceErr("rdy_strategy", "true", "invalid value type bool")},
		{"backoff_policy", BackoffAdaptive, "BackoffPolicy", BackoffAdaptive, ""},
		{"backoff_policy", 1, "", nil, `invalid backoff_policy ! "1" is none of: step adaptive`},
		{"backoff_strategy", "linear", "", nil, coerceErr("backoff_strategy", "linear", "unknown backoff strategy")},
		{"backoff_strategy", "Exponential", "", nil, coerceErr("backoff_strategy", "Exponential", "unknown backoff strategy")},
		{"backoff_strategy", 5, "", nil, coerceErr("backoff_strategy", "5", "invalid value type int")},
		{"backoff_strategy", ExponentialStrategy{}, "", nil,
			coerceErr("backoff_strategy", "nsq.ExponentialStrategy", "invalid value type nsq.ExponentialStrategy")},
		{"backoff_strategy", nil, "", nil, coerceErr("backoff_strategy", "<nil>", "value is nil")},
		{"backoff_strategy", noStrategy, "", nil, coerceErr("backoff_strategy", "*nsq.ExponentialStrategy", "value is nil")},

		{"local_addr", addr, "LocalAddr", addr, ""},
		{"local_addr", unix, "LocalAddr", unix, ""},
		{"local_addr", "127.0.0.1:0", "LocalAddr", addr, ""},
		{"local_addr", "[::1]:42", "LocalAddr", &net.TCPAddr{IP: net.IPv6loopback, Port: 42}, ""},
		{"local_addr", "127.0.0.1", "LocalAddr", nil,
			coerceErr("local_addr", "127.0.0.1", "address 127.0.0.1: missing port in address")},
		{"local_addr", "127.0.0.1:99999", "LocalAddr", nil,
			coerceErr("local_addr", "127.0.0.1:99999", "address 99999: invalid port")},
		{"local_addr", 5, "LocalAddr", nil, coerceErr("local_addr", "5", "invalid value type int")},
		{"local_addr", net.TCPAddr{}, "LocalAddr", nil, coerceErr("local_addr", "net.TCPAddr", "invalid value type net.TCPAddr")},
		{"local_addr", nil, "LocalAddr", nil, coerceErr("local_addr", "<nil>", "value is nil")},
		{"local_addr", (*net.TCPAddr)(nil), "LocalAddr", nil, coerceErr("local_addr", "*net.TCPAddr", "value is nil")},

		{"tls_config", nil, "TlsConfig", (*tls.Config)(nil), coerceErr("tls_config", "<nil>", "value is nil")},
		{"tls_config", (*tls.Config)(nil), "TlsV1", false, ""},
		{"tls_config", (*slog.Logger)(nil), "TlsV1", false, coerceErr("tls_config", "*slog.Logger", "value is nil")},
		{"tls_config", "file.pem", "TlsV1", false, coerceErr("tls_config", "file.pem", "invalid value type string")},
		{"tls_config", true, "TlsV1", false, coerceErr("tls_config", "true", "invalid value type bool")},
		{"tls_config", struct{ Key string }{"secret"}, "TlsV1", false,
			coerceErr("tls_config", "struct { Key string }", "invalid value type struct { Key string }")},

		{"dial_context", nil, "", nil, coerceErr("dial_context", "<nil>", "value is nil")},
		{"dial_context", noDial, "", nil, ""},
		{"dial_context", func() {}, "", nil, coerceErr("dial_context", "func()", "invalid value type func()")},
		{"dial_context", "tcp", "", nil, coerceErr("dial_context", "tcp", "invalid value type string")},
		{"logger", nil, "Logger", (*slog.Logger)(nil), coerceErr("logger", "<nil>", "value is nil")},
		{"logger", "stderr", "Logger", (*slog.Logger)(nil), coerceErr("logger", "stderr", "invalid value type string")},
		{"logger", slog.DiscardHandler, "Logger", (*slog.Logger)(nil),
			coerceErr("logger", sprint("%T", slog.DiscardHandler), sprint("invalid value type %T", slog.DiscardHandler))},
	} {
		t.Run(tc.option+"="+printable(tc.value), func(t *testing.T) {
			c := NewConfig()
			expectError(t, c.Set(tc.option, tc.value), tc.wantErr)
			if tc.field == "" {
				return
			}
			got := fieldOf(c, tc.field).Interface()
			if a, ok := got.(net.Addr); ok && tc.want != nil {
				if a.String() != tc.want.(net.Addr).String() || a.Network() != tc.want.(net.Addr).Network() {
					t.Errorf("%s = %v, want %v", tc.field, a, tc.want)
				}
			} else if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%s = %#v, want %#v", tc.field, got, tc.want)
			}
		})
	}
}

func TestConfigSetKeepsFunctionsAndLoggers(t *testing.T) {
	c := NewConfig()
	refused := errors.New("refused")
	mustSet(c, "dial_context", func(context.Context, string, string) (net.Conn, error) { return nil, refused })
	if _, err := c.DialContext(t.Context(), "tcp", "nsqd:4150"); !errors.Is(err, refused) {
		t.Errorf("DialContext is not the function given: %v", err)
	}
	own := slog.New(slog.DiscardHandler)
	mustSet(c, "logger", own)
	if c.Logger != own {
		t.Errorf("Logger = %v, want %v", c.Logger, own)
	}
}

// errors.Is and errors.As find the cause of an error of Set.
func TestConfigSetErrorsWrap(t *testing.T) {
	if err := NewConfig().Set("max_in_flight", "x"); !errors.Is(err, strconv.ErrSyntax) {
		t.Errorf("%v does not wrap strconv.ErrSyntax", err)
	}
	if err := NewConfig().Set("tls_root_ca_file", filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap fs.ErrNotExist", err)
	}
	if _, ok := errors.AsType[*net.AddrError](NewConfig().Set("local_addr", "nowhere")); !ok {
		t.Error("a bad address does not wrap *net.AddrError")
	}
}

func FuzzConfigSet(f *testing.F) {
	for _, spec := range optionSpecs {
		for _, value := range []string{"", "-1", "0", "1", "5s", "full_jitter", "127.0.0.1:0", "NaN", "true", "99999999999999"} {
			f.Add(spec.option, value)
		}
	}
	for option := range tlsOptions {
		f.Add(option, "tls1.3")
	}
	pemFile := filepath.Join(f.TempDir(), "roots.pem")
	f.Fuzz(func(t *testing.T, option, value string) {
		switch strings.ReplaceAll(option, "-", "_") {
		case "local_addr":
			// Set would look up a host name, so every address gets a literal host.
			if _, port, err := net.SplitHostPort(value); err == nil {
				value = net.JoinHostPort("127.0.0.1", port)
			}
		case "tls_root_ca_file":
			// The value might be the path of any file on this machine, so it is used as
			// the content of a file instead.
			if err := os.WriteFile(pemFile, []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
			value = pemFile
		}
		c := NewConfig()
		before := *c
		err := c.Set(option, value)
		for field, got := range c.options() {
			if rangeErr := checkRange(field.Name, field, got); rangeErr != nil {
				t.Errorf("Set(%q, %q) returned %v and left %v", option, value, err, rangeErr)
			}
		}
		if err != nil && !reflect.DeepEqual(*c, before) {
			t.Errorf("Set(%q, %q) returned %v but changed the Config", option, value, err)
		}
	})
}

func BenchmarkConfigClone(b *testing.B) {
	c := NewConfig()
	c.TlsConfig = &tls.Config{}
	b.ReportAllocs()
	for b.Loop() {
		c.clone()
	}
}
