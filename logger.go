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
	"time"
	"unicode"
	"unicode/utf8"
)

// LogLevel is the importance of a log line.
type LogLevel int

// The log levels, in rising importance. LogLevelMax is the highest.
const (
	LogLevelDebug LogLevel = iota
	LogLevelInfo
	LogLevelWarning
	LogLevelError
	LogLevelMax = iota - 1
)

// String returns the three letters that begin a log line of this level: DBG, INF, WRN
// or ERR. For an unknown level it returns DBG.
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

// logLevel returns the highest LogLevel that is not above level. It is LogLevelDebug
// for every level below Info.
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

// Logger receives log lines: see the SetLogger methods. *log.Logger implements it. For
// structured records use Config.Logger instead.
type Logger interface {
	// Output writes the line s, which has no newline at its end. calldepth is 2, for
	// package log; it can be ignored.
	//
	// Output is called from several goroutines. Connections and the Consumer wait for it,
	// so it must neither block nor call back into the Consumer or Producer. The error that
	// it returns is ignored.
	Output(calldepth int, s string) error
}

// logs is the log of one Consumer, Producer or Conn. All of its records go through
// logger, or through loggers derived from it, and from there to sinks. The SetLogger
// methods replace sinks. Any goroutine may call them at any time.
type logs struct {
	logger *slog.Logger
	id     int64 // tells the lines of consumers and producers apart; 0 and not shown for a Conn
	sinks  atomic.Pointer[sinks]

	repeats repeats
}

// sinks says where records go. It is replaced and never changed, so that writing a
// record takes no lock.
type sinks struct {
	level   LogLevel // records below it are dropped
	byLevel [LogLevelMax + 1]sink
}

// sink receives the records of one level. If structured, they go to the Config's
// Logger unchanged; otherwise they go as lines to output, or nowhere if that is nil.
type sink struct {
	structured bool
	output     Logger
	prefix     string // set for a Conn: stands in its lines in place of id, topic, channel and nsqd
}

// lastID is the id of the last Consumer or Producer made in this process.
var lastID atomic.Int64

// newLogs returns the log of a Consumer or Producer. to is the Config's Logger, whose
// own handler filters by level. With nil, lines of level Info and above go to
// standard error.
func newLogs(to *slog.Logger) *logs {
	l := newConnLogs(to)
	l.id = lastID.Add(1)
	if to == nil {
		l.SetLogger(log.New(os.Stderr, "", log.LstdFlags), LogLevelInfo)
	}
	return l
}

// newConnLogs returns the log of a Conn. With nil, records go nowhere.
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

// SetLogger sends lines of every level to to, or nowhere if to is nil, and drops
// lines below lvl.
func (l *logs) SetLogger(to Logger, lvl LogLevel) {
	l.setSinks(sink{output: to}, lvl)
}

// SetLoggerForLevel sends lines of level lvl to to, or nowhere if to is nil. Calls
// with a level that does not exist do nothing.
func (l *logs) SetLoggerForLevel(to Logger, lvl LogLevel) { l.setSink(sink{output: to}, lvl) }

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

// sink returns the current sink for records of a level.
func (l *logs) sink(level LogLevel) sink {
	s := l.sinks.Load()
	if level < s.level {
		return sink{}
	}
	return s.byLevel[level]
}

// logHandler is the slog.Handler of logs. The handlers that WithAttrs and WithGroup
// derive from it share its logs. The other fields never change.
type logHandler struct {
	logs       *logs
	structured slog.Handler // handler of the Config's Logger, with the same attrs and groups; nil without Logger
	attrs      []slog.Attr  // no groups: keys contain the names of their groups
	prefix     string       // names of the open groups, each followed by a dot
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	to := h.logs.sink(logLevel(level))
	if to.structured {
		return h.structured.Enabled(ctx, level)
	}
	return to.output != nil
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if how, ok := ctx.(repeatable); ok {
		if r, ok = h.fold(how, r); !ok {
			return nil
		}
		ctx = how.Context
	}
	level := logLevel(r.Level)
	switch to := h.logs.sink(level); {
	case to.structured:
		return h.structured.Handle(ctx, r)
	case to.output != nil:
		return to.output.Output(2, h.line(level, r, to.prefix))
	}
	return nil // a SetLogger method switched the level off after Enabled
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

// line formats a record in go-nsq's layout, which users' log parsers know: "INF 1
// [topic/channel] (nsqd) message" or, with a prefix, "INF prefix message". Attrs that
// have no place in this layout follow as " key=value".
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
			fmt.Fprintf(&b, "(%s) ", quoted(nsqd))
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
		fmt.Fprintf(&b, " %s=%s", a.Key, quoted(attrText(a.Value)))
	}
	return b.String()
}

// attrText returns the text of an attr's value.
func attrText(v slog.Value) string {
	if v.Kind() == slog.KindTime {
		return v.Time().Format(time.RFC3339)
	}
	return v.String()
}

// lastAttr returns the text of the last attr with this key, or "".
func lastAttr(attrs []slog.Attr, key string) string {
	for _, a := range slices.Backward(attrs) {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// appendFlat appends a to dst, with prefix, the names of its groups, before its key.
// In place of a group it appends the group's members.
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

// quoted returns s, in quotes unless s reads as one value on one line without them.
// Texts of peers pass through here: a newline would forge a line, and an escape sequence
// or a byte that is no UTF-8 would reach the terminal.
func quoted(s string) string {
	strange := func(r rune) bool { return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, strange) {
		return strconv.Quote(s)
	}
	return s
}
