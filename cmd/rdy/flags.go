package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/spf13/pflag"
)

// ranged is a flag whose value must lie in a range.
type ranged[T cmp.Ordered] struct {
	p        *T
	min, max T
	parse    func(string) (T, error)
	kind     string // in the help
	want     string // in an error
}

func (r *ranged[T]) String() string { return fmt.Sprint(*r.p) }
func (r *ranged[T]) Type() string   { return r.kind }

func (r *ranged[T]) Set(s string) error {
	v, err := r.parse(s)
	if err != nil || cmp.Less(v, r.min) || cmp.Less(r.max, v) {
		return fmt.Errorf("want %s from %v to %v", r.want, r.min, r.max)
	}
	*r.p = v
	return nil
}

func intFlag(p *int, low, high int) pflag.Value {
	return &ranged[int]{p: p, min: low, max: high, parse: strconv.Atoi, kind: "int", want: "a whole number"}
}

func floatFlag(p *float64, low, high float64) pflag.Value {
	parse := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	return &ranged[float64]{p: p, min: low, max: high, parse: parse, kind: "float", want: "a number"}
}

func durationFlag(p *time.Duration, low, high time.Duration) pflag.Value {
	return &ranged[time.Duration]{
		p: p, min: low, max: high, parse: time.ParseDuration,
		kind: "duration", want: "a duration such as 20ms",
	}
}

// levelFlag is a flag that takes a log level.
type levelFlag slog.Level

func (l *levelFlag) String() string { return strings.ToLower(slog.Level(*l).String()) }
func (l *levelFlag) Type() string   { return "level" }

func (l *levelFlag) Set(s string) error {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if s == strings.ToLower(level.String()) {
			*l = levelFlag(level)
			return nil
		}
	}
	return fmt.Errorf("want debug, info, warn or error")
}

// addrsFlag is a flag that takes an address and may be repeated.
type addrsFlag []string

func (a *addrsFlag) String() string { return strings.Join(*a, ",") }
func (a *addrsFlag) Type() string   { return "host:port" }

func (a *addrsFlag) Set(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
		return fmt.Errorf("want host:port, such as 127.0.0.1:4150")
	}
	if !slices.Contains(*a, s) {
		*a = append(*a, s)
	}
	return nil
}

// channelFlag is a flag that takes the name of a channel.
type channelFlag string

func (c *channelFlag) String() string { return string(*c) }
func (c *channelFlag) Type() string   { return "name" }

func (c *channelFlag) Set(s string) error {
	if !nsq.IsValidChannelName(s) {
		return fmt.Errorf("want %s", nameRule)
	}
	*c = channelFlag(s)
	return nil
}

// nameRule says what a topic or channel may be called.
const nameRule = "1 to 64 letters, digits, '.', '_' or '-', with #ephemeral allowed at the end"
