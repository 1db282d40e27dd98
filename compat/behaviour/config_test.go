package behaviour

import (
	"crypto/tls"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/compat/behaviour/client"
	"github.com/rdyhq/nsq/compat/behaviour/gonsq"
	"github.com/rdyhq/nsq/compat/behaviour/rdy"
)

// settings are values for every option: of every kind, in and out of range.
var settings = []any{
	nil, true, false, "true", "0", "yes",
	0, 1, -1, 7, 500, 5000, 70000, -7, int16(9), int32(9), int64(2500), uint(3), uint16(30000), uint32(9), uint64(9),
	int64(1) << 40, int8(1), uint8(1),
	0.5, float32(0.25), 99.0, "0.3", "17", "-17", "", "text",
	time.Duration(0), time.Second, 90 * time.Second, 10 * time.Minute, -time.Second, "250ms", "1m30s", "2h", "soon",
	"127.0.0.1:0", "localhost:http", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1},
	"exponential", "full_jitter", "tls1.0", "tls1.2", "ssl3.0",
	"/no/such/file.pem", (*tls.Config)(nil), &tls.Config{ServerName: "nsqd", MinVersion: tls.VersionTLS12},
	[]byte("text"), struct{}{},
}

// The option's names, some also as flags have them, and names of none.
var optionNames = strings.Fields(`
	dial_timeout read_timeout write_timeout local_addr lookupd_poll_interval lookupd_poll_jitter lookupd_poll_timeout
	max_requeue_delay default_requeue_delay backoff_strategy max_backoff_duration backoff_multiplier max_attempts
	low_rdy_idle_timeout low_rdy_timeout rdy_redistribute_interval client_id hostname user_agent heartbeat_interval
	sample_rate tls_v1 tls_config tls_root_ca_file tls_cert tls_key tls_insecure_skip_verify tls_min_version
	deflate deflate_level snappy output_buffer_size output_buffer_timeout max_in_flight msg_timeout auth_secret
	skip_lookupd_authorization
	max-in-flight read-timeout tls-v1 max_In_flight MaxInFlight no_such_option`)

// What is meant to differ, by the row of docs/MIGRATION.md that says why.
const (
	rowTypes = "`Config.Set` with an untyped nil, a value of the wrong type, or out of a type's range"
	rowFloat = "`Config.Set` of a float to a text option"
	rowUnit  = "a duration as a text without a unit, as `-1`"
	rowTLS   = "`tls_*` options"
)

// attempt is what came of one Config.Set.
type attempt struct {
	outcome string // "ok", "error" or "panic"
	err     error
	fields  map[string]string // of the Config, exported ones
	valid   error             // what Validate said after an "ok"
}

func TestConfigSet(t *testing.T) {
	rows := rowsOfMigration(t)
	same, meant := 0, make(map[string]int)
	for _, option := range optionNames {
		for _, value := range settings {
			was, is := set(gonsq.Client{}, option, value), set(rdy.Client{}, option, value)
			diff := difference(was, is)
			if diff == "" {
				same++
				continue
			}
			row := reason(option, value, was, is)
			if !rows[row] {
				t.Errorf("Set(%q, %T %v): %s (row %q)", option, value, value, diff, row)
			}
			meant[row]++
		}
	}
	t.Logf("%d pairs alike, meant to differ: %v", same, meant)
}

func set(c client.Client, option string, value any) (a attempt) {
	config := c.NewConfig()
	defer func() {
		if recover() != nil {
			a.outcome = "panic"
		}
	}()
	a.outcome = "ok"
	if a.err = config.Set(option, value); a.err != nil {
		a.outcome = "error"
		return a
	}
	a.fields = fields(config)
	a.valid = config.Validate()
	return a
}

func fields(config any) map[string]string {
	values := make(map[string]string)
	v := reflect.ValueOf(config).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			values[f.Name] = text(v.Field(i).Interface())
		}
	}
	return values
}

func text(value any) string {
	switch value := value.(type) {
	case *tls.Config:
		if value == nil {
			return "none"
		}
		return fmt.Sprintf("server %q, from %x, %d certificates, roots %t, insecure %t", value.ServerName,
			value.MinVersion, len(value.Certificates), value.RootCAs != nil, value.InsecureSkipVerify)
	case client.Config, string, bool, int, int32, int64, uint16, float64, time.Duration, net.Addr:
		return fmt.Sprintf("%T %v", value, value)
	}
	return fmt.Sprintf("%T", value) // a strategy
}

// difference is empty if there is none between fields that go-nsq has.
func difference(was, is attempt) string {
	if was.outcome != is.outcome {
		return fmt.Sprintf("was %s %v, is %s %v", was.outcome, was.err, is.outcome, is.err)
	}
	var found []string
	for name, value := range was.fields {
		if name != "UserAgent" && value != is.fields[name] {
			found = append(found, fmt.Sprintf("%s was %s, is %s", name, value, is.fields[name]))
		}
	}
	if (was.valid == nil) != (is.valid == nil) {
		found = append(found, fmt.Sprintf("Validate was %v, is %v", was.valid, is.valid))
	}
	slices.Sort(found)
	return strings.Join(found, "; ")
}

// reason is the row of the table that covers a difference, if one does.
func reason(option string, value any, was, is attempt) string {
	outcomes := was.outcome + " " + is.outcome
	kind := reflect.ValueOf(value)
	_, isText := value.(string)
	switch {
	case outcomes == "panic error", outcomes == "panic ok" && (option == "tls_cert" || option == "tls_key"):
		return rowTypes
	case outcomes == "ok error" && (takesGarbage(value, was) || strings.Contains(is.err.Error(), "value does not fit in")):
		return rowTypes
	case outcomes == "error ok" && isText && strings.Contains(was.err.Error(), "missing unit in duration"):
		return rowUnit
	case outcomes == "ok ok" && kind.CanFloat():
		return rowFloat
	case outcomes == "ok ok" && strings.HasPrefix(option, "tls_") && (was.fields["TlsV1"] != is.fields["TlsV1"] ||
		strings.Replace(was.fields["TlsConfig"], "from 301", "from 0", 1) == is.fields["TlsConfig"]):
		return rowTLS
	}
	return ""
}

// takesGarbage tells whether go-nsq took a value that is no text for one.
func takesGarbage(value any, was attempt) bool {
	for _, field := range was.fields {
		if field == fmt.Sprintf("string %s", value) {
			return true
		}
	}
	return false
}
