package nsq

import (
	"flag"
	"io"
	"testing"
	"time"
)

var _ flag.Value = (*ConfigFlag)(nil)

func TestConfigFlag(t *testing.T) {
	for _, tc := range []struct {
		opt   string
		field string
		want  any
		err   string
	}{
		{"max_in_flight,200", "MaxInFlight", 200, ""},
		{"max-in-flight,200", "MaxInFlight", 200, ""},
		{"snappy", "Snappy", true, ""},
		{"snappy,true", "Snappy", true, ""},
		{"snappy,false", "Snappy", false, ""},
		{"heartbeat_interval,-1", "HeartbeatInterval", -time.Millisecond, ""},
		{"client_id,a,b,c", "ClientID", "a,b,c", ""},
		{"client_id,", "ClientID", "", ""},
		{"auth_secret, x", "AuthSecret", " x", ""},
		{"tls_insecure_skip_verify", "TlsV1", true, ""},
		{"client_id", "ClientID", testClientID(),
			"failed to coerce option client_id (true) - invalid value type bool"},
		{"max_in_flight", "MaxInFlight", 1,
			"failed to coerce option max_in_flight (true) - invalid value type bool"},
		{"max_in_flight,", "MaxInFlight", 1,
			`failed to coerce option max_in_flight () - strconv.ParseInt: parsing "": invalid syntax`},
		{"max_in_flight,-5", "MaxInFlight", 1, "invalid max_in_flight ! -5 < 0"},
		{"", "MaxInFlight", 1, "invalid option "},
		{",5", "MaxInFlight", 1, "invalid option "},
		{"nothing,5", "MaxInFlight", 1, "invalid option nothing"},
	} {
		c := NewConfig()
		f := &ConfigFlag{c}
		expectError(t, f.Set(tc.opt), tc.err)
		if got := fieldOf(c, tc.field).Interface(); got != tc.want {
			t.Errorf("%q left %s = %v, want %v", tc.opt, tc.field, got, tc.want)
		}
	}
}

func TestConfigFlagInFlagSet(t *testing.T) {
	c := NewConfig()
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Var(&ConfigFlag{c}, "consumer-opt", "option,value")
	if err := fs.Parse([]string{"-consumer-opt", "max_in_flight,7", "-consumer-opt", "deflate"}); err != nil {
		t.Fatal(err)
	}
	if c.MaxInFlight != 7 || !c.Deflate {
		t.Errorf("MaxInFlight %d, Deflate %v, want 7, true", c.MaxInFlight, c.Deflate)
	}
	if err := fs.Parse([]string{"-consumer-opt", "max_in_flight,many"}); err == nil {
		t.Error("a bad value is accepted")
	}
	fs.PrintDefaults() // prints no default, and calls String on a zero ConfigFlag
	if got := (&ConfigFlag{}).String(); got != "" {
		t.Errorf("String() = %q", got)
	}
}
