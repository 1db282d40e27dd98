package nsq

import (
	"crypto/tls"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// SetMap sets all options of a map, in whatever order Go iterates over the map.
func TestConfigSetMap(t *testing.T) {
	cert, key := writePair(t)
	for range 10 { // the order of a map is random
		c := NewConfig()
		if err := c.SetMap(map[string]any{
			"max_in_flight": "200", "msg-timeout": time.Minute, "snappy": 1, "backoff_strategy": "full_jitter",
			"backoff_multiplier": "3s", "tls_cert": cert, "tls_key": key, "tls_v1": false,
			"tls_config": &tls.Config{ServerName: "nsqd"}, "auth_secret": "s3cret",
		}); err != nil {
			t.Fatal(err)
		}
		if c.MaxInFlight != 200 || c.MsgTimeout != time.Minute || !c.Snappy || c.AuthSecret != "s3cret" {
			t.Errorf("%+v", c)
		}
		if c.TlsConfig.ServerName != "nsqd" || len(c.TlsConfig.Certificates) != 1 || c.TlsV1 {
			t.Errorf("TLS %v, %v", c.TlsV1, c.TlsConfig)
		}
		c.BackoffMultiplier = time.Minute // of c, not of a copy
		if strategy, ok := c.BackoffStrategy.(*FullJitterStrategy); !ok || *strategy.unit != time.Minute {
			t.Errorf("strategy %+v", c.BackoffStrategy)
		}
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// SetMap can replace both files of a certificate and key.
func TestConfigSetMapReplacesAPair(t *testing.T) {
	c := NewConfig()
	for range 2 {
		cert, key := writePair(t)
		if err := c.SetMap(map[string]any{"tls_cert": cert, "tls_key": key}); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get("tls_key"); err != nil || got != key {
			t.Errorf("tls_key %v, error %v", got, err)
		}
	}
}

// If an option of a map cannot be set, none is, and the errors are sorted by name.
func TestConfigSetMapSetsAllOrNone(t *testing.T) {
	c := NewConfig()
	before := *c
	err := c.SetMap(map[string]any{
		"tls_v1": true, "tls-cert": "/does/not/matter", "snappy": true, "client_id": "c", "auth_secret": []int{4711},
		"max_in_flight": -1, "no_such_option": "value", "msg-timeout": 1, "msg_timeout": 2, "backoff_strategy": "none",
	})
	expectError(t, err, "failed to coerce option auth_secret ([]int) - invalid value type []int\n"+
		"failed to coerce option backoff_strategy (none) - unknown backoff strategy\n"+
		"invalid max_in_flight ! -1 < 0\n"+
		"option msg_timeout is given twice\n"+
		"invalid option no_such_option")
	if !reflect.DeepEqual(*c, before) {
		t.Errorf("changed to %+v", c)
	}
}

func TestConfigSetEnv(t *testing.T) {
	for _, prefix := range []string{"NSQ", "NSQ_"} {
		for name, value := range map[string]string{
			"NSQ_MAX_IN_FLIGHT": "200", "NSQ_MSG_TIMEOUT": "90s", "NSQ_TLS_MIN_VERSION": "tls1.3", "NSQ_SNAPPY": "true",
			"NSQ_BACKOFF_STRATEGY": "full_jitter", "NSQ_CLIENT_ID": "", "MAX_ATTEMPTS": "7",
			// What programs and Kubernetes name so, and what takes no text:
			"NSQ_LOOKUPD_ADDR": "x", "NSQ_LOOKUPD_SERVICE_HOST": "x", "NSQ_PORT_4150_TCP": "x", "NSQ_TOPIC": "x",
			"NSQ_CHANNEL": "x", "NSQ_HOST": "x", "NSQ_HOSTS": "x", "NSQ_TLS_CA": "x", "NSQ_WAIT_TIMEOUT": "x", "NSQ_LOG_LEVEL": "x",
			"NSQ_": "x", "NSQ": "x", "NSQ_LOGGER": "json", "NSQ_LOGGERS": "x", "NSQ_TLS_CONFIG": "x", "NSQ_HOOKS": "x", "NSQ_DEAD_LETTER": "x",
		} {
			t.Setenv(name, value)
		}
		c := NewConfig()
		id := c.ClientID
		if err := c.SetEnv(prefix); err != nil {
			t.Fatal(err)
		}
		if c.MaxInFlight != 200 || c.MsgTimeout != 90*time.Second || !c.Snappy || c.MaxAttempts != 5 || c.ClientID != id {
			t.Errorf("%s: %+v", prefix, c)
		}
		if c.TlsConfig.MinVersion != tls.VersionTLS13 || !c.TlsV1 {
			t.Errorf("%s: TLS %v, %v", prefix, c.TlsV1, c.TlsConfig)
		}
	}
}

// A variable that looks like a typo is an error, and then nothing is set. No error shows a
// secret.
func TestConfigSetEnvTypos(t *testing.T) {
	for name, value := range map[string]string{
		"NSQ_SNAPPY": "true", "NSQ_MAX_INFLIGHT": "200", "NSQ_MAX_IN_FLIHGT": "200", "NSQ_MAX_ATTEMPT": "3",
		"NSQ_STOP_TIMEOUTS": "3s", "NSQ_max_attempts": "3", "NSQ_AUTH_SECRETE": "s3cret", "NSQ_DEFLATE_LEVEL": "x", "NSQ_DEFLAKE": "1",
	} {
		t.Setenv(name, value)
	}
	c := NewConfig()
	before := *c
	err := c.SetEnv("NSQ")
	const hint = ": no option has this name: set NSQ_%, or rename the variable\n"
	want := ""
	for _, typo := range [][2]string{
		{"AUTH_SECRETE", "AUTH_SECRET"}, {"DEFLAKE", "DEFLATE"}, {"DEFLATE_LEVEL", ""}, {"MAX_ATTEMPT", "MAX_ATTEMPTS"},
		{"max_attempts", "MAX_ATTEMPTS"}, {"MAX_IN_FLIHGT", "MAX_IN_FLIGHT"}, {"MAX_INFLIGHT", "MAX_IN_FLIGHT"}, {"STOP_TIMEOUTS", "STOP_TIMEOUT"},
	} {
		if typo[1] == "" {
			want += "NSQ_DEFLATE_LEVEL: failed to coerce option deflate_level (x) - strconv.ParseInt: parsing \"x\": invalid syntax\n"
			continue
		}
		want += "NSQ_" + typo[0] + strings.Replace(hint, "%", typo[1], 1)
	}
	expectError(t, err, strings.TrimSuffix(want, "\n"))
	if !reflect.DeepEqual(*c, before) {
		t.Errorf("changed to %+v", c)
	}
	for _, prefix := range []string{"", "_"} {
		expectError(t, c.SetEnv(prefix), "options from the environment: empty prefix")
	}
}

// A letter too much is a typo of each option.
func TestConfigSetEnvTypoOfEach(t *testing.T) {
	c := NewConfig()
	for _, option := range c.textOptions() {
		t.Setenv("NSQ_"+strings.ToUpper(option)+"Q", "1")
	}
	err := c.SetEnv("NSQ")
	for _, option := range c.textOptions() {
		if want := "set NSQ_" + strings.ToUpper(option) + ","; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v without %q", err, want)
		}
	}
}

func TestMisspelt(t *testing.T) {
	for _, tt := range []struct {
		name string
		want bool
	}{
		{"abcd", true}, {"a_b_c_d", true}, {"abc", true}, {"bcd", true}, {"abcde", true}, {"xabcd", true}, {"abxd", true}, {"bacd", true},
		{"abdc", true}, {"ab", false}, {"abcdef", false}, {"abdcx", false}, {"dbca", false}, {"badc", false}, {"", false},
	} {
		if got := misspelt(tt.name, "ab_cd"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// Set accepts what Get returns, for every option. OptionNames returns all of them, sorted.
func TestConfigGet(t *testing.T) {
	cert, key := writePair(t)
	c := NewConfig()
	if err := c.SetMap(map[string]any{
		"tls_cert": cert, "tls_key": key, "tls_root_ca_file": cert, "tls_min_version": "tls1.0", "tls_insecure_skip_verify": true,
		"auth_secret": "s3cret", "local_addr": "127.0.0.1:0", "max_in_flight": 7,
	}); err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	for option := range OptionNames() {
		for _, name := range []string{option, strings.ReplaceAll(option, "_", "-")} {
			value, err := c.Get(name)
			if err != nil {
				t.Fatal(err)
			}
			values[option] = value
			if err := NewConfig().Set(name, value); err != nil {
				t.Errorf("%s: Set does not take %v: %v", name, value, err)
			}
		}
	}
	for option, want := range map[string]any{
		"tls_cert": cert, "tls_key": key, "tls_root_ca_file": cert, "tls_min_version": "tls1.0", "tls_insecure_skip_verify": true,
		"auth_secret": "[redacted]", "max_in_flight": 7, "tls_v1": true, "skip_lookupd_authorization": true,
	} {
		if values[option] != want {
			t.Errorf("%s is %v, want %v", option, values[option], want)
		}
	}
	fresh := map[string]any{"auth_secret": "", "tls_min_version": "", "tls_root_ca_file": "", "tls_insecure_skip_verify": false, "local_addr": nil}
	for option, want := range fresh {
		if got, err := NewConfig().Get(option); got != want || err != nil {
			t.Errorf("a new Config's %s is %v, error %v", option, got, err)
		}
	}
	_, err := c.Get("no_such_option")
	expectError(t, err, "invalid option no_such_option")
	want := slices.Collect(maps.Keys(tlsOptions))
	for field := range c.options() {
		want = append(want, field.Tag.Get("opt"))
	}
	if names := slices.Collect(OptionNames()); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
		t.Errorf("names %v", names)
	}
}
