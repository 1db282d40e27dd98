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

// optionValues are tried on every option. They are of every kind, in and out of
// range.
var optionValues = []any{
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

// optionNames are the names of all options, a few in the spelling of flags, and a
// few that no option has.
var optionNames = strings.Fields(`
	dial_timeout read_timeout write_timeout local_addr lookupd_poll_interval lookupd_poll_jitter lookupd_poll_timeout
	max_requeue_delay default_requeue_delay backoff_strategy max_backoff_duration backoff_multiplier max_attempts
	low_rdy_idle_timeout low_rdy_timeout rdy_redistribute_interval client_id hostname user_agent heartbeat_interval
	sample_rate tls_v1 tls_config tls_root_ca_file tls_cert tls_key tls_insecure_skip_verify tls_min_version
	deflate deflate_level snappy output_buffer_size output_buffer_timeout max_in_flight msg_timeout auth_secret
	skip_lookupd_authorization
	max-in-flight read-timeout tls-v1 max_In_flight MaxInFlight no_such_option`)

// Intended differences, by the row of docs/MIGRATION.md that explains them.
const (
	rowTypes = "`Config.Set` with an untyped nil, a value of the wrong type, or out of a type's range"
	rowFloat = "`Config.Set` of a float to a text option"
	rowUnit  = "a duration as a text without a unit, as `-1`"
	rowTLS   = "`tls_*` options"
)

// attempt is the result of one Config.Set.
type attempt struct {
	outcome string // "ok", "error" or "panic"
	err     error
	fields  map[string]string // the Config's exported fields, after "ok"
	valid   error             // result of Validate, after "ok"
}

func TestConfigSet(t *testing.T) {
	rows := migrationRows(t)
	same, intended := 0, make(map[string]int)
	for _, option := range optionNames {
		for _, value := range optionValues {
			theirs, ours := set(gonsq.Client{}, option, value), set(rdy.Client{}, option, value)
			diff := describeDifference(theirs, ours)
			if diff == "" {
				same++
				continue
			}
			row := migrationRow(option, value, theirs, ours)
			if !rows[row] {
				t.Errorf("Set(%q, %T %v): %s (row %q)", option, value, value, diff, row)
			}
			intended[row]++
		}
	}
	t.Logf("%d pairs behave alike; intended differences: %v", same, intended)
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

// describeDifference returns how two attempts differ, or "". It compares only
// fields that go-nsq has.
func describeDifference(theirs, ours attempt) string {
	if theirs.outcome != ours.outcome {
		return fmt.Sprintf("go-nsq: %s %v; here: %s %v", theirs.outcome, theirs.err, ours.outcome, ours.err)
	}
	var found []string
	for name, value := range theirs.fields {
		if name != "UserAgent" && value != ours.fields[name] {
			found = append(found, fmt.Sprintf("%s is %s in go-nsq, %s here", name, value, ours.fields[name]))
		}
	}
	if (theirs.valid == nil) != (ours.valid == nil) {
		found = append(found, fmt.Sprintf("Validate returns %v in go-nsq, %v here", theirs.valid, ours.valid))
	}
	slices.Sort(found)
	return strings.Join(found, "; ")
}

// migrationRow returns the row of docs/MIGRATION.md that explains a difference, or
// "".
func migrationRow(option string, value any, theirs, ours attempt) string {
	outcomes := theirs.outcome + " " + ours.outcome
	kind := reflect.ValueOf(value)
	_, isText := value.(string)
	switch {
	case outcomes == "panic error", outcomes == "panic ok" && (option == "tls_cert" || option == "tls_key"):
		return rowTypes
	case outcomes == "ok error" && (takesGarbage(value, theirs) || strings.Contains(ours.err.Error(), "value does not fit in")):
		return rowTypes
	case outcomes == "error ok" && isText && strings.Contains(theirs.err.Error(), "missing unit in duration"):
		return rowUnit
	case outcomes == "ok ok" && kind.CanFloat():
		return rowFloat
	case outcomes == "ok ok" && strings.HasPrefix(option, "tls_") && (theirs.fields["TlsV1"] != ours.fields["TlsV1"] ||
		strings.Replace(theirs.fields["TlsConfig"], "from 301", "from 0", 1) == ours.fields["TlsConfig"]):
		return rowTLS
	}
	return ""
}

// takesGarbage reports whether go-nsq stored a value that is not a string in a
// string field.
func takesGarbage(value any, theirs attempt) bool {
	for _, field := range theirs.fields {
		if field == fmt.Sprintf("string %s", value) {
			return true
		}
	}
	return false
}
