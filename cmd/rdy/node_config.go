package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
)

const (
	logLevelFlag = "log_level"
	lookupdsFlag = "nsqlookupd_tcp_addresses"
)

// nsqdLevels are nsqd's log levels. It reports a level as its place in this list, counted
// from 1.
var nsqdLevels = []string{"debug", "info", "warn", "error", "fatal"}

// nodeConfig is what "rdy node config --json" prints.
type nodeConfig struct {
	Flag   string      `json:"flag"`
	NSQDs  []nsqdValue `json:"nsqds"`
	Errors []nodeError `json:"errors"`
}

type nsqdValue struct {
	Addr  string `json:"addr"`
	Value any    `json:"value"` // as nsqd reports it
}

func newNodeConfig(a *app) *cobra.Command {
	l := &look{app: a}
	return l.command(&cobra.Command{
		Use:   "config FLAG [VALUE] (--lookupd address | --nsqd-http address)",
		Short: "Show or change a flag of nsqds",
		Long: `Show the value of a flag of nsqd, such as max-rdy-count, on each nsqd of the cluster. With a
value, change it on each of them, until that nsqd restarts. nsqd can change two flags while
it runs: log_level (` + strings.Join(nsqdLevels, ", ") + `), and nsqlookupd_tcp_addresses,
a list separated by commas: nsqd connects to the nsqlookupds that are new in it, and
disconnects from those that are missing. An empty list disconnects it from all. To change
one nsqd, give only that one with --nsqd-http.

The JSON has "flag", "nsqds" with "addr" and "value", and "errors". The value is as nsqd
reports it: durations are in nanoseconds, and log levels are numbers from 1 to 5.`,
		Example: `  rdy node config max-rdy-count --lookupd 127.0.0.1:4161
  rdy node config log_level debug --nsqd-http 127.0.0.1:4151
  rdy node config nsqlookupd_tcp_addresses lookup-1:4160,lookup-2:4160 --nsqd-http 127.0.0.1:4151`,
		Args: checkConfig,
	}, func(ctx context.Context, t *target, args []string) error {
		r, err := configure(ctx, t, args)
		return errors.Join(l.print(r, func() []byte { return r.table() }), err)
	})
}

// checkConfig accepts the name of a flag, and a value if nsqd can change it.
func checkConfig(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return usage(cmd, "want a flag, or a flag and a value, got %s", figures.Things(len(args), "argument"))
	}
	name := flagName(args[0])
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return usage(cmd, "invalid flag %q: want a name such as max-rdy-count", args[0])
	}
	if len(args) == 1 {
		return nil
	}
	switch value := args[1]; name {
	case logLevelFlag:
		if !slices.Contains(nsqdLevels, value) {
			return usage(cmd, "invalid value %q: want %s", value, strings.Join(nsqdLevels, ", "))
		}
	case lookupdsFlag:
		for _, addr := range lookupdAddrs(value) {
			if !isHostPort(addr) {
				return usage(cmd, "invalid value %q: want host:port, or several with commas", value)
			}
		}
	default:
		return usage(cmd, "nsqd changes only %s and %s while it runs", logLevelFlag, lookupdsFlag)
	}
	return nil
}

// flagName returns the name of a flag as nsqd's configuration file has it.
func flagName(arg string) string {
	return strings.ReplaceAll(strings.TrimLeft(arg, "-"), "-", "_")
}

// lookupdAddrs splits a list of addresses.
func lookupdAddrs(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
}

// configure reads a flag from each nsqd or, with a value in args, changes it.
func configure(ctx context.Context, t *target, args []string) (*nodeConfig, error) {
	r := &nodeConfig{Flag: flagName(args[0]), NSQDs: []nsqdValue{}}
	v, err := t.poll(ctx, "", "")
	for _, n := range v.NSQDs {
		if n.Error != "" {
			continue // err says why
		}
		var value string
		var failed error
		if len(args) == 1 {
			value, failed = t.Config(ctx, n.Addr, r.Flag)
		} else {
			value, failed = t.SetConfig(ctx, n.Addr, r.Flag, configValue(r.Flag, args[1]))
		}
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		r.NSQDs = append(r.NSQDs, nsqdValue{n.Addr, asJSON(value)})
	}
	if err == nil && len(v.NSQDs) == 0 {
		err = errors.New("the nsqlookupds list no nsqd")
	}
	r.Errors = nodeErrors(err)
	if err != nil {
		err = fmt.Errorf("flag %s: %w", r.Flag, err)
	}
	return r, err
}

// configValue returns a value as nsqd takes it.
func configValue(flag, value string) string {
	if flag != lookupdsFlag {
		return value
	}
	addrs := lookupdAddrs(value)
	if len(addrs) == 0 {
		return "[]"
	}
	list, _ := json.Marshal(addrs) // of strings: no error
	return string(list)
}

// asJSON returns what nsqd has reported: JSON, or a string that is none. To package json, JSON
// is also valid with bytes that are not UTF-8, and it would print them as they are.
func asJSON(value string) any {
	if utf8.ValidString(value) && json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return value
}

// table returns the values as text for people.
func (r *nodeConfig) table() []byte {
	if len(r.NSQDs) == 0 {
		return nil
	}
	rows := [][]string{{"nsqd", r.Flag}}
	for _, n := range r.NSQDs {
		rows = append(rows, []string{n.Addr, r.text(n.Value)})
	}
	var out bytes.Buffer
	align(&out, 2, rows)
	return out.Bytes()
}

// text returns a value for people: log levels by name, durations with their units.
func (r *nodeConfig) text(value any) string {
	raw, isJSON := value.(json.RawMessage)
	if !isJSON {
		return fmt.Sprint(value)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
	case r.Flag == logLevelFlag && n > 0 && n <= int64(len(nsqdLevels)):
		return nsqdLevels[n-1]
	case strings.HasSuffix(r.Flag, "_timeout"), strings.HasSuffix(r.Flag, "_interval"):
		return time.Duration(n).String()
	}
	return string(raw)
}
