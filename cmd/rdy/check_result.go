package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"github.com/spf13/cobra"
)

// The results of a check, which are also its exit codes.
const (
	checkOK       = 0
	checkWarning  = 1
	checkCritical = 2
	checkUnknown  = 3
)

// checkWords are the results as Nagios names them.
var checkWords = [...]string{checkOK: "OK", checkWarning: "WARNING", checkCritical: "CRITICAL", checkUnknown: "UNKNOWN"}

// checkResult is what "rdy check --json" prints.
type checkResult struct {
	Check    string        `json:"check"`
	Item     string        `json:"item,omitempty"` // what was checked: topic/channel, or nothing
	Status   string        `json:"status"`
	Code     int           `json:"code"`
	Messages []string      `json:"messages"`
	Metrics  []checkMetric `json:"metrics"`

	faults []checkFault
	notes  []string // told if nothing is wrong
}

// checkMetric is a figure of a check.
type checkMetric struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit,omitempty"` // of Nagios: "s", "%", "c", or empty
	Warning  float64 `json:"warning,omitempty"`
	Critical float64 `json:"critical,omitempty"`
}

// checkFigures say what figures are, by name.
var checkFigures = map[string]string{
	"channels": "Channels of the topic.", "clients": "Connections that have subscribed.",
	"deferred": "Messages that wait for their delay to pass.", "depth": "Messages that wait.",
	"drain": "Time until the channel is empty, if all goes on as it does.", "in_flight": "Messages that clients hold.",
	"missing_nsqds": "nsqds that do not respond.", "nsqds": "nsqds that respond.", "nsqlookupds": "nsqlookupds that respond.",
	"published_per_second": "Messages published to the topic per second.", "timeouts": "Share of deliveries that time out.",
}

type checkFault struct {
	code int
	text string
}

// checkFailed is the error of a check whose result is not OK. It was printed.
type checkFailed struct{ code int }

func (c *checkFailed) Error() string { return "the result is " + checkWords[c.code] }

// exitCode returns the exit code of an error of a command. quiet reports whether the user was
// told already.
func exitCode(err error) (code int, quiet bool) {
	if failed, ok := errors.AsType[*checkFailed](err); ok {
		return failed.code, true
	}
	if wrong, ok := errors.AsType[*usageError](err); ok {
		if isCheck(wrong.cmd) {
			return checkUnknown, false
		}
		return exitUsage, false
	}
	if _, ok := errors.AsType[*checkError](err); ok {
		return checkUnknown, false
	}
	return exitFailure, false
}

// checkError is why a check has no result.
type checkError struct{ err error }

func (c *checkError) Error() string { return c.err.Error() }
func (c *checkError) Unwrap() error { return c.err }

// isCheck reports whether cmd is "rdy check" or under it.
func isCheck(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.Name() == "check" {
			return true
		}
	}
	return false
}

// fault adds what is wrong.
func (r *checkResult) fault(code int, format string, args ...any) {
	r.faults = append(r.faults, checkFault{code, fmt.Sprintf(format, args...)})
}

// note adds what is told if nothing is wrong.
func (r *checkResult) note(text string) { r.notes = append(r.notes, text) }

// figure adds a figure, and a fault if it reaches a threshold. text is the figure in words.
func (r *checkResult) figure(m checkMetric, text string) {
	r.Metrics = append(r.Metrics, m)
	switch {
	case m.Critical > 0 && m.Value >= m.Critical:
		r.fault(checkCritical, "%s", text)
	case m.Warning > 0 && m.Value >= m.Warning:
		r.fault(checkWarning, "%s", text)
	default:
		r.note(text)
	}
}

// missing notes that daemons are missing from the figures. It is a fault only if there is no worse
// one.
func (r *checkResult) missing(err error) { r.fault(checkUnknown, "%s", oneLine(incomplete(err))) }

// finish sets the status: the worst fault. What is wrong for certain counts more than what is not
// known.
func (r *checkResult) finish() {
	order := []int{checkCritical, checkWarning, checkUnknown}
	slices.SortStableFunc(r.faults, func(a, b checkFault) int { return slices.Index(order, a.code) - slices.Index(order, b.code) })
	r.Messages = append(r.Messages, r.notes...)
	if len(r.faults) > 0 {
		r.Code, r.Messages = r.faults[0].code, []string{}
		for _, f := range r.faults {
			r.Messages = append(r.Messages, f.text)
		}
	}
	r.Status = checkWords[r.Code]
}

// nagios returns the line of a Nagios plugin.
func (r *checkResult) nagios() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s: ", strings.ToUpper(r.Check), r.Status)
	if r.Item != "" {
		out.WriteString(r.Item + ": ")
	}
	// What follows a bar would be taken for performance data.
	text := strings.ReplaceAll(strings.Join(r.Messages, ", "), "|", "/")
	out.WriteString(text)
	for i, m := range r.Metrics {
		if i == 0 {
			out.WriteString(" |")
		}
		fmt.Fprintf(&out, " %s=%s%s;%s;%s;0", m.Name, checkNumber(m.Value), m.Unit, checkLimit(m.Warning), checkLimit(m.Critical))
	}
	return append(visible.Escape(out.Bytes(), ""), '\n')
}

// checkNumber returns a number without an exponent.
func checkNumber(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// checkLimit returns a threshold. Nagios leaves out one that is not checked.
func checkLimit(v float64) string {
	if v == 0 {
		return ""
	}
	return checkNumber(v)
}

// prometheus returns the result in the text format of Prometheus.
func (r *checkResult) prometheus() []byte {
	var out bytes.Buffer
	labels := fmt.Sprintf(`check="%s",item="%s"`, r.Check, checkLabel(r.Item))
	fmt.Fprintf(&out, "# HELP nsq_check_status_code Result of the check: 0 OK, 1 warning, 2 critical, 3 unknown.\n")
	fmt.Fprintf(&out, "# TYPE nsq_check_status_code gauge\nnsq_check_status_code{%s} %d\n", labels, r.Code)
	for _, m := range r.Metrics {
		name, value := "nsq_check_"+m.Name, m.Value
		switch m.Unit {
		case "s":
			name += "_seconds"
		case "%":
			name, value = name+"_ratio", value/100
		}
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s gauge\n%s{%s} %s\n", name, checkFigures[m.Name], name, name, labels, checkNumber(value))
	}
	return out.Bytes()
}

// checkLabel escapes the value of a label.
func checkLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(string(visible.Escape([]byte(s), "")))
}
