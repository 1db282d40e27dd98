package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rdyhq/nsq"
	"github.com/spf13/pflag"
)

// ranged is a flag whose value must lie in a range.
type ranged[T cmp.Ordered] struct {
	p        *T
	min, max T
	parse    func(string) (T, error)
	kind     string // name of the type in the help
	want     string // description of a valid value in an error
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

func int64Flag(p *int64, low, high int64) pflag.Value {
	parse := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
	return &ranged[int64]{p: p, min: low, max: high, parse: parse, kind: "int", want: "a whole number"}
}

// floatFlag is a flag that takes a number from 0 to high.
func floatFlag(p *float64, high float64) pflag.Value {
	parse := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	return &ranged[float64]{p: p, max: high, parse: parse, kind: "float", want: "a number"}
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

// addrsFlag is a flag that takes an address and may be repeated. It drops
// duplicates.
type addrsFlag []string

func (a *addrsFlag) String() string { return strings.Join(*a, ",") }
func (a *addrsFlag) Type() string   { return "host:port" }

func (a *addrsFlag) Set(s string) error {
	if !isHostPort(s) {
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

// topicFlag is a flag that takes the name of a topic.
type topicFlag string

func (t *topicFlag) String() string { return string(*t) }
func (t *topicFlag) Type() string   { return "name" }

func (t *topicFlag) Set(s string) error {
	if !nsq.IsValidTopicName(s) {
		return fmt.Errorf("want %s", nameRule)
	}
	*t = topicFlag(s)
	return nil
}

// patternFlag is a flag that takes a regular expression.
type patternFlag struct{ p **regexp.Regexp }

func (f patternFlag) Type() string { return "regexp" }

func (f patternFlag) String() string {
	if f.p == nil || *f.p == nil { // package pflag asks a zero value for its default
		return ""
	}
	return (*f.p).String()
}

func (f patternFlag) Set(s string) error {
	re, err := regexp.Compile(s)
	if err != nil || s == "" {
		return errors.Join(errors.New("want a regular expression, such as ^orders"), err)
	}
	*f.p = re
	return nil
}

// oneOf is a flag that takes one of several words.
type oneOf struct {
	p     *string
	words []string
}

func oneOfFlag(p *string, words ...string) pflag.Value { return &oneOf{p, words} }

func (o *oneOf) String() string { return *o.p }
func (o *oneOf) Type() string   { return strings.Join(o.words, "|") }

func (o *oneOf) Set(s string) error {
	if !slices.Contains(o.words, s) {
		return fmt.Errorf("want %s", strings.Join(o.words, " or "))
	}
	*o.p = s
	return nil
}

// delimiterFlag is a flag that takes bytes. It understands Go's escapes and \0.
type delimiterFlag []byte

func (d *delimiterFlag) String() string { return strings.Trim(strconv.Quote(string(*d)), `"`) }
func (d *delimiterFlag) Type() string   { return "bytes" }

func (d *delimiterFlag) Set(s string) error {
	var b []byte
	for s != "" {
		if s[0] != '\\' { // the bytes need not be valid UTF-8
			b, s = append(b, s[0]), s[1:]
			continue
		}
		if len(s) > 1 && s[1] == '0' {
			b, s = append(b, 0), s[2:]
			continue
		}
		r, text, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil {
			return fmt.Errorf(`want bytes, with escapes such as \0, \t, \x1e or \\`)
		}
		if text {
			b = utf8.AppendRune(b, r)
		} else {
			b = append(b, byte(r))
		}
		s = rest
	}
	if len(b) == 0 {
		return fmt.Errorf("want at least one byte")
	}
	*d = b
	return nil
}

// nameRule describes the valid names of topics and channels.
const nameRule = "1 to 64 letters, digits, '.', '_' or '-', with #ephemeral allowed at the end"
