package nsq

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
)

// LogLevel is the importance of a log line.
type LogLevel int

// The log levels, in rising importance. LogLevelMax is the highest of them.
const (
	LogLevelDebug LogLevel = iota
	LogLevelInfo
	LogLevelWarning
	LogLevelError
	LogLevelMax = iota - 1
)

// String returns the three letters that a log line starts with: DBG, INF, WRN
// or ERR, and DBG for any other level.
func (lvl LogLevel) String() string {
	switch lvl {
	case LogLevelInfo:
		return "INF"
	case LogLevelWarning:
		return "WRN"
	case LogLevelError:
		return "ERR"
	}
	return "DBG"
}

// logLevel is the highest LogLevel that level reaches.
func logLevel(level slog.Level) LogLevel {
	switch {
	case level < slog.LevelInfo:
		return LogLevelDebug
	case level < slog.LevelWarn:
		return LogLevelInfo
	case level < slog.LevelError:
		return LogLevelWarning
	}
	return LogLevelError
}

// logger is what the SetLogger methods take, a *log.Logger for instance.
type logger interface {
	Output(calldepth int, s string) error
}

// logs is the log of one Consumer, Producer or Conn. Everything in it is written
// through logger or loggers derived from that one, all of which follow the
// SetLogger methods; these may be called at any time, by any goroutine.
type logs struct {
	logger *slog.Logger
	id     int64 // shown in every line, to tell consumers and producers apart; not in those of a Conn
	sinks  atomic.Pointer[sinks]
}

// sinks says where records go. It is replaced, never changed, so that a record
// costs no lock.
type sinks struct {
	level   LogLevel // records below it are dropped
	byLevel [LogLevelMax + 1]sink
}

// sink takes the records of one level: as they are to the Config's Logger, or
// as lines to output, or not at all.
type sink struct {
	structured bool
	output     logger
	prefix     string // of a Conn's lines, in place of all else that tells whose they are
}

// lastID counts the consumers and producers of this process.
var lastID atomic.Int64

// newLogs starts the log of a Consumer or Producer. to is the Config's Logger,
// which decides about levels by itself; nil means lines on standard error from
// level Info on.
func newLogs(to *slog.Logger) *logs {
	l := newConnLogs(to)
	l.id = lastID.Add(1)
	if to == nil {
		l.SetLogger(log.New(os.Stderr, "", log.LstdFlags), LogLevelInfo)
	}
	return l
}

// newConnLogs starts the log of a Conn, which differs in that nil means nowhere.
func newConnLogs(to *slog.Logger) *logs {
	l := &logs{}
	h := &logHandler{logs: l}
	l.sinks.Store(&sinks{})
	if to != nil {
		h.structured = to.Handler()
		l.setSinks(sink{structured: true}, LogLevelDebug)
	}
	l.logger = slog.New(h)
	return l
}

// SetLogger sends the lines of every level to to, or nowhere if to is nil, and
// drops those below lvl.
func (l *logs) SetLogger(to logger, lvl LogLevel) {
	l.setSinks(sink{output: to}, lvl)
}

// SetLoggerForLevel sends the lines of level lvl to to, or nowhere if to is
// nil. A level that does not exist has no lines.
func (l *logs) SetLoggerForLevel(to logger, lvl LogLevel) { l.setSink(sink{output: to}, lvl) }

// SetLoggerLevel drops lines below lvl.
func (l *logs) SetLoggerLevel(lvl LogLevel) {
	l.update(func(s *sinks) { s.level = lvl })
}

func (l *logs) setSink(to sink, lvl LogLevel) {
	if lvl < LogLevelDebug || lvl > LogLevelMax {
		return
	}
	l.update(func(s *sinks) { s.byLevel[lvl] = to })
}

func (l *logs) setSinks(all sink, lvl LogLevel) {
	l.update(func(s *sinks) {
		s.level = lvl
		for i := range s.byLevel {
			s.byLevel[i] = all
		}
	})
}

func (l *logs) update(change func(*sinks)) {
	for {
		old := l.sinks.Load()
		changed := *old
		change(&changed)
		if l.sinks.CompareAndSwap(old, &changed) {
			return
		}
	}
}

// sink is where records of level go now.
func (l *logs) sink(level LogLevel) sink {
	s := l.sinks.Load()
	if level < s.level {
		return sink{}
	}
	return s.byLevel[level]
}

// logHandler is the slog.Handler behind logs. One that was derived from
// another by With or WithGroup shares its logs.
type logHandler struct {
	logs       *logs
	structured slog.Handler // the Config's Logger with the same attrs and groups; nil without one
	attrs      []slog.Attr  // never a group: those are spelled out in the keys
	prefix     string       // the groups that attrs to come are in, each followed by a dot
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	to := h.logs.sink(logLevel(level))
	if to.structured {
		return h.structured.Enabled(ctx, level)
	}
	return to.output != nil
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	level := logLevel(r.Level)
	switch to := h.logs.sink(level); {
	case to.structured:
		return h.structured.Handle(ctx, r)
	case to.output != nil:
		return to.output.Output(2, h.line(level, r, to.prefix))
	}
	return nil // switched off since Enabled was asked
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *h
	derived.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		derived.attrs = appendFlat(derived.attrs, h.prefix, a)
	}
	if h.structured != nil {
		derived.structured = h.structured.WithAttrs(attrs)
	}
	return &derived
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	derived := *h
	derived.prefix += name + "."
	if h.structured != nil {
		derived.structured = h.structured.WithGroup(name)
	}
	return &derived
}

// line is a record in go-nsq's layout, which users' log parsers know: "INF 1
// [topic/channel] (nsqd) message" or, with a prefix, "INF prefix message", followed by " key=value" for the attrs that
// this layout has no place for.
func (h *logHandler) line(level LogLevel, r slog.Record, prefix string) string {
	attrs := slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendFlat(attrs, h.prefix, a)
		return true
	})
	var b strings.Builder
	topic, channel, nsqd := lastAttr(attrs, "topic"), lastAttr(attrs, "channel"), lastAttr(attrs, "nsqd")
	consumes := topic != "" && channel != ""
	if prefix != "" {
		fmt.Fprintf(&b, "%-4s %s ", level, prefix)
	} else {
		fmt.Fprintf(&b, "%-4s %3d ", level, h.logs.id)
		if consumes {
			fmt.Fprintf(&b, "[%s/%s] ", topic, channel)
		}
		if nsqd != "" {
			fmt.Fprintf(&b, "(%s) ", nsqd)
		}
	}
	b.WriteString(r.Message)
	for _, a := range attrs {
		switch a.Key {
		case "topic", "channel":
			if consumes {
				continue
			}
		case "nsqd":
			continue
		}
		fmt.Fprintf(&b, " %s=%s", a.Key, quoted(a.Value.String()))
	}
	return b.String()
}

// lastAttr is the text of the attr with this key that was added last, or "".
func lastAttr(attrs []slog.Attr, key string) string {
	for _, a := range slices.Backward(attrs) {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// appendFlat appends a to dst with the groups it is in spelled out in its key.
// A group becomes its members.
func appendFlat(dst []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	value := a.Value.Resolve()
	switch {
	case value.Kind() != slog.KindGroup && a.Key == "":
		return dst
	case value.Kind() != slog.KindGroup:
		return append(dst, slog.Attr{Key: prefix + a.Key, Value: value})
	case a.Key != "":
		prefix += a.Key + "."
	}
	for _, member := range value.Group() {
		dst = appendFlat(dst, prefix, member)
	}
	return dst
}

// quoted is s, in quotes if it could otherwise be taken for something else
// than one value on one line.
func quoted(s string) string {
	strange := func(r rune) bool { return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, strange) {
		return strconv.Quote(s)
	}
	return s
}
