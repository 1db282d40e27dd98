package nsq

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// optionSpec is the documented name, default and range of an option, written apart from
// the tags that the tests compare it with.
type optionSpec struct {
	option, field string
	def           any
	min, max      any // nil: no bound
}

var optionSpecs = []optionSpec{
	{"dial_timeout", "DialTimeout", time.Second, nil, nil},
	{"dial_context", "DialContext", (func(context.Context, string, string) (net.Conn, error))(nil), nil, nil},
	{"read_timeout", "ReadTimeout", time.Minute, 100 * time.Millisecond, 5 * time.Minute},
	{"write_timeout", "WriteTimeout", time.Second, 100 * time.Millisecond, 5 * time.Minute},
	{"local_addr", "LocalAddr", nil, nil, nil},
	{"lookupd_poll_interval", "LookupdPollInterval", time.Minute, 10 * time.Millisecond, 5 * time.Minute},
	{"lookupd_poll_jitter", "LookupdPollJitter", 0.3, 0.0, 1.0},
	{"lookupd_poll_timeout", "LookupdPollTimeout", time.Minute, nil, nil},
	{"max_requeue_delay", "MaxRequeueDelay", 15 * time.Minute, time.Duration(0), time.Hour},
	{"default_requeue_delay", "DefaultRequeueDelay", 90 * time.Second, time.Duration(0), time.Hour},
	{"backoff_policy", "BackoffPolicy", BackoffStep, nil, nil},
	{"rdy_strategy", "RDYStrategy", RDYAdaptive, nil, nil},
	{"backoff_strategy", "BackoffStrategy", &ExponentialStrategy{}, nil, nil},
	{"max_backoff_duration", "MaxBackoffDuration", 2 * time.Minute, time.Duration(0), time.Hour},
	{"backoff_multiplier", "BackoffMultiplier", time.Second, time.Duration(0), time.Hour},
	{"max_attempts", "MaxAttempts", uint16(5), uint16(0), uint16(65535)},
	{"dead_letter", "DeadLetter", (*DeadLetterPolicy)(nil), nil, nil},
	{"low_rdy_idle_timeout", "LowRdyIdleTimeout", 10 * time.Second, time.Second, 5 * time.Minute},
	{"low_rdy_timeout", "LowRdyTimeout", 30 * time.Second, time.Second, 5 * time.Minute},
	{"rdy_redistribute_interval", "RDYRedistributeInterval", 5 * time.Second, time.Millisecond, 5 * time.Second},
	{"client_id", "ClientID", testClientID(), nil, nil},
	{"hostname", "Hostname", testHostname(), nil, nil},
	{"user_agent", "UserAgent", "rdyhq-nsq/0.1.0", nil, nil},
	{"topology_region", "TopologyRegion", "", nil, nil},
	{"topology_zone", "TopologyZone", "", nil, nil},
	{"heartbeat_interval", "HeartbeatInterval", 30 * time.Second, nil, nil},
	{"sample_rate", "SampleRate", int32(0), int32(0), int32(99)},
	{"tls_v1", "TlsV1", false, nil, nil},
	{"tls_config", "TlsConfig", (*tls.Config)(nil), nil, nil},
	{"deflate", "Deflate", false, nil, nil},
	{"deflate_level", "DeflateLevel", 6, 1, 9},
	{"snappy", "Snappy", false, nil, nil},
	{"output_buffer_size", "OutputBufferSize", int64(16384), nil, nil},
	{"output_buffer_timeout", "OutputBufferTimeout", 250 * time.Millisecond, nil, nil},
	{"max_in_flight", "MaxInFlight", 1, 0, nil},
	{"max_bytes_in_flight", "MaxBytesInFlight", int64(64 << 20), int64(0), nil},
	{"msg_timeout", "MsgTimeout", time.Duration(0), time.Duration(0), nil},
	{"auto_touch", "AutoTouch", time.Duration(0), time.Duration(0), nil},
	{"recycle_bodies", "RecycleBodies", false, nil, nil},
	{"max_msg_size", "MaxMsgSize", int32(0), int32(0), nil},
	{"pack_publishes", "PackPublishes", true, nil, nil},
	{"auth_secret", "AuthSecret", "", nil, nil},
	{"skip_lookupd_authorization", "LookupdAuthorization", true, nil, nil},
	{"logger", "Logger", (*slog.Logger)(nil), nil, nil},
	{"hooks", "Hooks", []Hooks(nil), nil, nil},
	{"stuck_after", "StuckAfter", 5 * time.Minute, time.Duration(0), nil},
	{"stop_timeout", "StopTimeout", 30 * time.Second, time.Duration(0), nil},
}

func testHostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func testClientID() string {
	return strings.Split(testHostname(), ".")[0]
}

func fieldOf(c *Config, name string) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByName(name)
}

func TestNewConfigDefaults(t *testing.T) {
	c := NewConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, spec := range optionSpecs {
		documented[spec.field] = true
		if spec.option == "backoff_strategy" {
			continue // compared in TestStrategyFollowsItsConfig
		}
		if got := fieldOf(c, spec.field).Interface(); !reflect.DeepEqual(got, spec.def) {
			t.Errorf("%s = %#v, want %#v", spec.field, got, spec.def)
		}
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		if field.IsExported() && !documented[field.Name] {
			t.Errorf("%s is not among the documented options", field.Name)
		}
	}
	for field := range c.options() {
		if !field.IsExported() {
			t.Errorf("private field %s has an opt tag", field.Name)
		}
	}
}

// D44: a machine without a host name is no reason to fail.
func TestLocalHostUnknown(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"a.b.c", nil, "a.b.c"},
		{"", nil, "unknown"},
		{"", errors.New("no host name"), "unknown"},
		{"half", errors.New("no host name"), "unknown"},
	} {
		if got := localHost(func() (string, error) { return tc.name, tc.err }); got != tc.want {
			t.Errorf("localHost of (%q, %v) = %q, want %q", tc.name, tc.err, got, tc.want)
		}
	}
}

func TestValidateRanges(t *testing.T) {
	for _, spec := range optionSpecs {
		if spec.min != nil {
			expectValid(t, spec, spec.min)
			if below, ok := neighbour(spec.min, -1); ok {
				expectOutOfRange(t, spec, below, "<", spec.min)
			}
		}
		if spec.max != nil {
			expectValid(t, spec, spec.max)
			if above, ok := neighbour(spec.max, +1); ok {
				expectOutOfRange(t, spec, above, ">", spec.max)
			}
		}
	}
}

// withField returns a Config with one field set and the others valid. Heartbeats are
// off, so that any ReadTimeout is valid with them.
func withField(field string, value any) *Config {
	c := NewConfig()
	c.HeartbeatInterval = -1
	fieldOf(c, field).Set(reflect.ValueOf(value))
	return c
}

func expectValid(t *testing.T, spec optionSpec, value any) {
	t.Helper()
	if err := withField(spec.field, value).Validate(); err != nil {
		t.Errorf("%s %v: %v", spec.field, value, err)
	}
	if err := NewConfig().Set(spec.option, value); err != nil {
		t.Errorf("Set(%s, %v): %v", spec.option, value, err)
	}
}

func expectOutOfRange(t *testing.T, spec optionSpec, value any, sign string, limit any) {
	t.Helper()
	suffix := sprint(" ! %v %s %v", value, sign, limit)
	expectError(t, withField(spec.field, value).Validate(), "invalid "+spec.field+suffix)
	c := NewConfig()
	expectError(t, c.Set(spec.option, value), "invalid "+spec.option+suffix)
	if got := fieldOf(c, spec.field).Interface(); !reflect.DeepEqual(got, spec.def) {
		t.Errorf("a refused Set(%s, %v) left %v", spec.option, value, got)
	}
}

// neighbour returns the value next to limit in the direction of step. It returns false
// for uint16, whose limits are those of the type.
func neighbour(limit any, step int) (any, bool) {
	switch v := limit.(type) {
	case time.Duration:
		return v + time.Duration(step), true
	case int:
		return v + step, true
	case int32:
		return v + int32(step), true
	case float64:
		return math.Nextafter(v, math.Inf(step)), true
	}
	return nil, false
}

func TestValidateRules(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*Config)
		want string // "" is valid
	}{
		{"heartbeat over read timeout", func(c *Config) { c.HeartbeatInterval = c.ReadTimeout + 1 },
			"HeartbeatInterval 1m0.000000001s must be less than ReadTimeout 1m0s"},
		{"heartbeat equal to read timeout", func(c *Config) { c.HeartbeatInterval = c.ReadTimeout }, ""},
		{"heartbeat off", func(c *Config) { c.HeartbeatInterval = -time.Millisecond }, ""},
		{"heartbeat of nsqd", func(c *Config) { c.HeartbeatInterval = 0 }, ""},
		{"read timeout under heartbeat", func(c *Config) { c.ReadTimeout = time.Second },
			"HeartbeatInterval 30s must be less than ReadTimeout 1s"},
		{"deflate", func(c *Config) { c.Deflate = true }, ""},
		{"snappy", func(c *Config) { c.Snappy = true }, ""},
		{"deflate and snappy", func(c *Config) { c.Deflate, c.Snappy = true, true }, "cannot enable both Deflate and Snappy"},
		{"jitter NaN", func(c *Config) { c.LookupdPollJitter = math.NaN() }, "invalid LookupdPollJitter ! NaN < 0"},
		{"jitter infinite", func(c *Config) { c.LookupdPollJitter = math.Inf(1) }, "invalid LookupdPollJitter ! +Inf > 1"},
		{"deflate level 0", func(c *Config) { c.DeflateLevel = 0 }, "invalid DeflateLevel ! 0 < 1"},
		{"deflate level 10, deflate off", func(c *Config) { c.DeflateLevel = 10 }, "invalid DeflateLevel ! 10 > 9"},
		{"message size negative", func(c *Config) { c.MaxMsgSize = -1 }, "invalid MaxMsgSize ! -1 < 0"},
		{"message size largest", func(c *Config) { c.MaxMsgSize = math.MaxInt32 }, ""},
		{"message timeout negative", func(c *Config) { c.MsgTimeout = -1 }, "invalid MsgTimeout ! -1ns < 0s"},
		{"stop timeout negative", func(c *Config) { c.StopTimeout = -time.Second }, "invalid StopTimeout ! -1s < 0s"},
		{"buffer off", func(c *Config) { c.OutputBufferSize, c.OutputBufferTimeout = -1, -time.Millisecond }, ""},
		{"no strategy", func(c *Config) { c.BackoffStrategy = nil }, ""},
		{"RDY strategy unknown", func(c *Config) { c.RDYStrategy = "even" }, `invalid RDYStrategy ! "even" is none of: adaptive uniform`},
		{"RDY strategy empty", func(c *Config) { c.RDYStrategy = "" }, ""},
		{"backoff policy unknown", func(c *Config) { c.BackoffPolicy = "Step" }, `invalid BackoffPolicy ! "Step" is none of: step adaptive`},
		{"tls_cert alone", func(c *Config) { mustSet(c, "tls_cert", "c.pem") }, "tls_cert and tls_key must be set together"},
		{"tls_key alone", func(c *Config) { mustSet(c, "tls_key", "k.pem") }, "tls_cert and tls_key must be set together"},
		{"dead letters", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, Topic: "d", After: 5} }, ""},
		{"dead letters without limit", func(c *Config) { c.MaxAttempts = 0; c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, After: 9} }, ""},
		{"dead letters to nothing", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{} }, "DeadLetter.To is nil"},
		{"dead letters to a nil Producer", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{To: (*Producer)(nil)} }, "DeadLetter.To is nil"},
		{"dead letters to an invalid topic", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, Topic: "a b"} },
			`DeadLetter.Topic: invalid topic name "a b"`},
		{"dead letters to an ephemeral topic", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, Topic: "d#ephemeral"} },
			"DeadLetter.Topic d#ephemeral: nsqd does not keep the messages of an ephemeral topic"},
		{"dead letters after the last attempt", func(c *Config) { c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, After: 6} },
			"DeadLetter.After 6 must not exceed MaxAttempts 5"},
		{"dead letters after the only attempt", func(c *Config) { c.MaxAttempts = 1; c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, After: 2} },
			"DeadLetter.After 2 must not exceed MaxAttempts 1"},
		{"dead letters after any number of attempts", func(c *Config) { c.MaxAttempts = 0; c.DeadLetter = &DeadLetterPolicy{To: &Producer{}, After: 6} }, ""},
		{"tls_cert taken back", func(c *Config) { mustSet(c, "tls_cert", "c.pem"); mustSet(c, "tls_cert", "") }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewConfig()
			tc.set(c)
			expectError(t, c.Validate(), tc.want)
		})
	}
}

func TestConfigLiteralPanics(t *testing.T) {
	for name, use := range map[string]func(*Config){
		"mustBeInitialized": (*Config).mustBeInitialized,
		"Set":               func(c *Config) { _ = c.Set("snappy", true) },
		"Validate":          func(c *Config) { _ = c.Validate() },
		"ConfigFlag":        func(c *Config) { _ = (&ConfigFlag{c}).Set("snappy") },
	} {
		for _, c := range []*Config{nil, {}, {MaxInFlight: 1}} {
			if got := panicOf(func() { use(c) }); got != "Config{} must be created with NewConfig()" {
				t.Errorf("%s of %v: panic %v", name, c, got)
			}
		}
	}
	copied := *NewConfig()
	if got := panicOf(copied.mustBeInitialized); got != nil {
		t.Errorf("a copy of a Config from NewConfig: panic %v", got)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	c := NewConfig()
	c.TlsConfig = &tls.Config{ServerName: "before"}
	kept := c.clone()
	want := *kept

	// With -race this also shows that the copy shares no memory that is written to.
	var wg sync.WaitGroup
	wg.Go(func() {
		for attempt := range 1000 {
			kept.BackoffStrategy.Calculate(attempt)
			_ = kept.TlsConfig.ServerName
		}
	})
	c.TlsConfig.ServerName = "after"
	c.BackoffMultiplier = time.Minute
	c.MaxInFlight = 99
	mustSet(c, "backoff_strategy", "full_jitter")
	mustSet(c, "tls_min_version", "tls1.3")
	wg.Wait()

	if !reflect.DeepEqual(*kept, want) || kept.TlsConfig.ServerName != "before" || kept.TlsConfig.MinVersion != 0 {
		t.Errorf("the copy followed the original: %+v", kept)
	}
	if got := kept.BackoffStrategy.Calculate(1); got != 2*time.Second {
		t.Errorf("the copy pauses for %v at level 1, want 2s", got)
	}
	if err := kept.Validate(); err != nil {
		t.Errorf("the copy of a valid Config: %v", err)
	}
}

// Programs log their configs as JSON, as they can with go-nsq.
func TestConfigAsJSON(t *testing.T) {
	c := NewConfig()
	c.DialContext = (&net.Dialer{}).DialContext
	c.Logger = slog.New(slog.DiscardHandler)
	text, err := json.Marshal(c) //nolint:staticcheck // a TlsConfig could not be, but there is none
	if err != nil || !strings.Contains(string(text), `"MaxInFlight":1,`) {
		t.Errorf("%s, %v", text, err)
	}
}
