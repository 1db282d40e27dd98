package nsq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// logLines is a logger that keeps its lines.
type logLines struct {
	mu  sync.Mutex
	got []string
}

func (l *logLines) Output(_ int, s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, s)
	return nil
}

// take returns the lines since the last take.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

func expectLines(t *testing.T, l *logLines, want ...string) {
	t.Helper()
	if got := l.take(); !reflect.DeepEqual(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

func newTestLogs(id int64, lvl LogLevel) (*logs, *logLines) {
	l := newLogs(nil)
	l.id = id
	out := &logLines{}
	l.SetLogger(out, lvl)
	return l, out
}

func TestLogLevels(t *testing.T) {
	for lvl, want := range map[LogLevel]string{
		LogLevelDebug: "DBG", LogLevelInfo: "INF", LogLevelWarning: "WRN", LogLevelError: "ERR",
		-1: "DBG", 4: "DBG", 99: "DBG",
	} {
		if got := lvl.String(); got != want {
			t.Errorf("level %d is %q, want %q", int(lvl), got, want)
		}
	}
	if LogLevelDebug != 0 || LogLevelInfo != 1 || LogLevelWarning != 2 || LogLevelError != 3 || LogLevelMax != 3 {
		t.Error("the levels are not 0 to 3")
	}
	var _ [LogLevelMax + 1]int // users size tables with it
	for level, want := range map[slog.Level]LogLevel{
		-100: LogLevelDebug, slog.LevelDebug: LogLevelDebug, -1: LogLevelDebug,
		slog.LevelInfo: LogLevelInfo, 3: LogLevelInfo,
		slog.LevelWarn: LogLevelWarning, 7: LogLevelWarning,
		slog.LevelError: LogLevelError, 100: LogLevelError,
	} {
		if got := logLevel(level); got != want {
			t.Errorf("slog level %d is %v, want %v", level, got, want)
		}
	}
}

func TestLogLines(t *testing.T) {
	l, out := newTestLogs(1, LogLevelDebug)
	consumer := l.logger.With("topic", "t", "channel", "c")
	conn := consumer.With("nsqd", "127.0.0.1:4150")
	for _, tc := range []struct {
		write func()
		want  string
	}{
		{func() { consumer.Info("stopping...") }, "INF    1 [t/c] stopping..."},
		{func() { conn.Info("connecting to nsqd") }, "INF    1 [t/c] (127.0.0.1:4150) connecting to nsqd"},
		{func() { l.logger.Info("text") }, "INF    1 text"},
		{func() { l.logger.With("nsqd", "a:1").Info("text") }, "INF    1 (a:1) text"},
		{func() { l.logger.Debug("text") }, "DBG    1 text"},
		{func() { l.logger.Warn("text") }, "WRN    1 text"},
		{func() { l.logger.Error("text") }, "ERR    1 text"},
		{func() { l.logger.Info("") }, "INF    1 "},
		{func() { consumer.Warn("up", "nsqd", "a:1", "rdy", 5) }, "WRN    1 [t/c] (a:1) up rdy=5"},
		{func() { conn.Info("moved", "nsqd", "b:2") }, "INF    1 [t/c] (b:2) moved"},
		{func() { l.logger.Info("up", "channel", "c", "topic", "t") }, "INF    1 [t/c] up"},
		{func() { l.logger.Info("published", "topic", "t", "n", 3) }, "INF    1 published topic=t n=3"},
		{func() { l.logger.Info("odd", "channel", "c") }, "INF    1 odd channel=c"},
		{func() { l.logger.With("a", 1).Info("text", "b", time.Second) }, "INF    1 text a=1 b=1s"},
		{func() { l.logger.Info("failed", "err", errors.New("no route")) }, `INF    1 failed err="no route"`},
		{func() { l.logger.Info("text", "empty", "", "eq", "a=b", "nl", "a\nb", "q", `"`) },
			`INF    1 text empty="" eq="a=b" nl="a\nb" q="\""`},
		{func() { l.logger.Info("text", "nil", nil, "bool", true, "unicode", "héllo") },
			"INF    1 text nil=<nil> bool=true unicode=héllo"},
		{func() { l.logger.Info("text", slog.Group("g", "a", 1, slog.Group("h", "b", 2)), "c", 3) },
			"INF    1 text g.a=1 g.h.b=2 c=3"},
		{func() { l.logger.Info("text", slog.Group("", "a", 1), slog.Group("none"), slog.Attr{}) }, "INF    1 text a=1"},
		{func() { l.logger.With("x", 1).WithGroup("g").With("a", 1).WithGroup("h").Info("text", "b", 2) },
			"INF    1 text x=1 g.a=1 g.h.b=2"},
		{func() { consumer.WithGroup("g").Info("text", "nsqd", "a:1", "topic", "u") },
			"INF    1 [t/c] text g.nsqd=a:1 g.topic=u"},
		{func() { slog.New(l.logger.Handler().WithGroup("")).Info("text", "a", 1) }, "INF    1 text a=1"},
		{func() { l.logger.Info("text", "lazy", lazyValue("done")) }, "INF    1 text lazy=done"},
	} {
		tc.write()
		expectLines(t, out, tc.want)
	}
}

type lazyValue string

func (v lazyValue) LogValue() slog.Value { return slog.StringValue(string(v)) }

func TestLogLineInstanceNumber(t *testing.T) {
	for id, want := range map[int64]string{4: "INF    4 x", 42: "INF   42 x", 999: "INF  999 x", 12345: "INF  12345 x"} {
		l, out := newTestLogs(id, LogLevelInfo)
		l.logger.Info("x")
		expectLines(t, out, want)
	}
	first, second := newLogs(nil), newLogs(slog.New(slog.DiscardHandler))
	if first.id < 1 || second.id <= first.id {
		t.Errorf("instance numbers %d then %d do not rise", first.id, second.id)
	}
}

// Derived loggers share nothing: attrs of one do not appear in another of the same
// parent.
func TestLogDerivedLoggersAreApart(t *testing.T) {
	l, out := newTestLogs(1, LogLevelInfo)
	parent := l.logger.With("a", 1, "b", 2, "c", 3)
	left, right := parent.With("left", 1), parent.With("right", 1)
	left.Info("x")
	right.Info("x")
	parent.Info("x", "d", 4)
	parent.Info("x")
	expectLines(t, out,
		"INF    1 x a=1 b=2 c=3 left=1", "INF    1 x a=1 b=2 c=3 right=1", "INF    1 x a=1 b=2 c=3 d=4", "INF    1 x a=1 b=2 c=3")
}

func TestSetLogger(t *testing.T) {
	everyLevel := func(l *slog.Logger) {
		l.Debug("d")
		l.Info("i")
		l.Warn("w")
		l.Error("e")
	}
	l, out := newTestLogs(1, LogLevelInfo)
	derived := l.logger.With("k", "v")
	d, i, w, e := "DBG    1 d k=v", "INF    1 i k=v", "WRN    1 w k=v", "ERR    1 e k=v"

	everyLevel(derived)
	expectLines(t, out, i, w, e)
	l.SetLoggerLevel(LogLevelDebug)
	everyLevel(derived)
	expectLines(t, out, d, i, w, e)
	l.SetLoggerLevel(LogLevelError)
	everyLevel(derived)
	expectLines(t, out, e)
	l.SetLoggerLevel(LogLevelMax + 1)
	everyLevel(derived)
	expectLines(t, out)

	other := &logLines{}
	l.SetLogger(out, LogLevelDebug)
	l.SetLoggerForLevel(other, LogLevelWarning)
	l.SetLoggerForLevel(nil, LogLevelError)
	l.SetLoggerForLevel(other, -1)
	l.SetLoggerForLevel(other, LogLevelMax+1)
	everyLevel(derived)
	expectLines(t, out, d, i)
	expectLines(t, other, w)

	l.SetLogger(nil, LogLevelDebug)
	everyLevel(derived)
	expectLines(t, out)
	expectLines(t, other)
	if derived.Enabled(t.Context(), slog.LevelError) {
		t.Error("a level without a logger is enabled")
	}
	l.SetLogger(other, LogLevelWarning)
	everyLevel(derived)
	expectLines(t, other, w, e)
}

func TestDefaultLoggerIsAtInfo(t *testing.T) {
	l := newLogs(nil)
	for level, want := range map[slog.Level]bool{
		slog.LevelDebug: false, slog.LevelInfo: true, slog.LevelWarn: true, slog.LevelError: true,
	} {
		if got := l.logger.Enabled(t.Context(), level); got != want {
			t.Errorf("%v enabled: %v, want %v", level, got, want)
		}
	}
	for _, s := range l.sinks.Load().byLevel {
		std, ok := s.output.(*log.Logger)
		if !ok || std.Flags() != log.LstdFlags || std.Prefix() != "" {
			t.Errorf("the default output is %#v", s.output)
		}
	}
}

// decodeRecord reads a record of a slog.JSONHandler, without its time.
func decodeRecord(t *testing.T, b *bytes.Buffer) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.NewDecoder(b).Decode(&got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	return got
}

func TestConfigLoggerGetsRecords(t *testing.T) {
	var b bytes.Buffer
	own := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})).With("app", "x")
	l := newLogs(own)
	consumer := l.logger.With("topic", "t", "channel", "c")
	grouped := consumer.WithGroup("g").With("a", 1)

	grouped.Debug("text", "b", 2)
	want := map[string]any{"level": "DEBUG", "msg": "text", "app": "x", "topic": "t", "channel": "c",
		"g": map[string]any{"a": 1.0, "b": 2.0}}
	if got := decodeRecord(t, &b); !reflect.DeepEqual(got, want) {
		t.Errorf("record %v, want %v", got, want)
	}

	l.SetLoggerLevel(LogLevelError)
	consumer.Warn("text")
	if b.Len() != 0 {
		t.Errorf("SetLoggerLevel does not filter: %s", b.String())
	}
	consumer.Error("text")
	if got := decodeRecord(t, &b); got["msg"] != "text" {
		t.Errorf("record %v", got)
	}

	// A line logger takes over one level, and the others stay; then it takes over all.
	out := &logLines{}
	l.id = 1
	l.SetLoggerLevel(LogLevelDebug)
	l.SetLoggerForLevel(out, LogLevelWarning)
	grouped.Warn("text", "b", 2)
	expectLines(t, out, "WRN    1 [t/c] text g.a=1 g.b=2")
	consumer.Info("still")
	if got := decodeRecord(t, &b); got["msg"] != "still" {
		t.Errorf("record %v", got)
	}
	l.SetLogger(out, LogLevelInfo)
	consumer.Info("gone")
	expectLines(t, out, "INF    1 [t/c] gone")
	if b.Len() != 0 {
		t.Errorf("SetLogger did not replace the Config's Logger: %s", b.String())
	}
}

func TestConfigLoggerDecidesAboutLevels(t *testing.T) {
	l := newLogs(slog.New(slog.NewJSONHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})))
	for level, want := range map[slog.Level]bool{slog.LevelInfo: false, slog.LevelWarn: true} {
		if got := l.logger.Enabled(t.Context(), level); got != want {
			t.Errorf("%v enabled: %v, want %v", level, got, want)
		}
	}
}

type outputFunc func(calldepth int, s string) error

func (f outputFunc) Output(calldepth int, s string) error { return f(calldepth, s) }

func TestOutputMayCallBack(t *testing.T) {
	l := newLogs(nil)
	out := &logLines{}
	l.SetLogger(outputFunc(func(calldepth int, s string) error {
		if calldepth != 2 {
			t.Errorf("calldepth %d, want 2", calldepth)
		}
		l.SetLogger(out, LogLevelInfo)
		l.logger.Info("inner")
		return errors.New("output failed")
	}), LogLevelInfo)
	l.logger.Info("outer")
	if got := out.take(); len(got) != 1 {
		t.Errorf("lines %q, want the inner one", got)
	}
}

// A record whose level is switched off between Enabled and Handle is dropped.
func TestSwitchedOffBeforeHandle(t *testing.T) {
	l, out := newTestLogs(1, LogLevelInfo)
	h := l.logger.Handler()
	record := slog.NewRecord(time.Time{}, slog.LevelInfo, "late", 0)
	l.SetLogger(nil, LogLevelInfo)
	if err := h.Handle(context.Background(), record); err != nil {
		t.Error(err)
	}
	expectLines(t, out)
}

// SetLogger methods and loggers of every kind may be used at once, and no update is
// lost.
func TestSetLoggerConcurrently(t *testing.T) {
	l := newLogs(slog.New(slog.DiscardHandler))
	var written atomic.Int64
	count := outputFunc(func(int, string) error { written.Add(1); return nil })
	var wg sync.WaitGroup
	for level := LogLevelDebug; level <= LogLevelMax; level++ {
		wg.Go(func() {
			for range 500 {
				l.SetLoggerForLevel(nil, level)
				l.SetLoggerForLevel(count, level)
				l.SetLoggerLevel(LogLevelDebug)
			}
		})
		wg.Go(func() {
			derived := l.logger.With("k", "v")
			for range 500 {
				derived.Info("x")
				derived.WithGroup("g").Error("x", "a", 1)
			}
		})
	}
	wg.Wait()
	written.Store(0)
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		l.logger.Log(t.Context(), level, "x")
	}
	if got := written.Load(); got != 4 {
		t.Errorf("%d of 4 levels ended with the logger set last", got)
	}
}

// An update that another one overtakes is applied all the same.
func TestUpdateIsNotLost(t *testing.T) {
	l, out := newTestLogs(1, LogLevelInfo)
	other, met := &logLines{}, false
	l.update(func(s *sinks) {
		if !met {
			met = true
			l.SetLoggerForLevel(other, LogLevelError)
		}
		s.level = LogLevelWarning
	})
	l.logger.Info("i")
	l.logger.Warn("w")
	l.logger.Error("e")
	expectLines(t, out, "WRN    1 w")
	expectLines(t, other, "ERR    1 e")
}

// Goroutines that share a logger do not see each other's attrs in their lines.
func TestLogConcurrently(t *testing.T) {
	l := newLogs(nil)
	l.SetLogger(outputFunc(func(_ int, s string) error {
		var a, b string
		if _, err := fmt.Sscanf(s[len("INF    1 "):], "%s k=v k=v k=v own=%s", &a, &b); err != nil || a != b {
			t.Errorf("line %q: %v", s, err)
		}
		return nil
	}), LogLevelInfo)
	l.id = 1
	shared := l.logger.With("k", "v").With("k", "v").With("k", "v")
	var wg sync.WaitGroup
	for _, own := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for range 500 {
				shared.Info(own, "own", own)
			}
		})
	}
	wg.Wait()
}

func TestDisabledLevelCostsNothing(t *testing.T) {
	for name, l := range disabledLogs() {
		if got := testing.AllocsPerRun(100, func() { logDisabled(l) }); got != 0 {
			t.Errorf("%s: %v allocations for a level that is off", name, got)
		}
	}
}

func disabledLogs() map[string]*slog.Logger {
	silent := newLogs(nil)
	silent.SetLogger(nil, LogLevelDebug)
	loggers := map[string]*slog.Logger{
		"level": newLogs(nil).logger,
		"nil":   silent.logger,
		"slog":  newLogs(slog.New(slog.NewTextHandler(io.Discard, nil))).logger,
	}
	for name, l := range loggers {
		loggers[name] = l.With("topic", "t", "channel", "c")
	}
	return loggers
}

func logDisabled(l *slog.Logger) {
	l.LogAttrs(context.Background(), slog.LevelDebug, "requeued", slog.Int("attempts", 70000), slog.String("nsqd", "a:1"))
}

func BenchmarkLogDisabled(b *testing.B) {
	for name, l := range disabledLogs() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				logDisabled(l)
			}
		})
	}
}

func BenchmarkLogLine(b *testing.B) {
	l := newLogs(nil)
	l.SetLogger(outputFunc(func(int, string) error { return nil }), LogLevelInfo)
	conn := l.logger.With("topic", "t", "channel", "c", "nsqd", "127.0.0.1:4150")
	b.ReportAllocs()
	for b.Loop() {
		conn.LogAttrs(context.Background(), slog.LevelInfo, "connected", slog.Int("rdy", 2500))
	}
}

// Programs name Logger in interfaces of their own, which go-nsq's types cannot satisfy.
var _ = []interface {
	SetLogger(l Logger, lvl LogLevel)
	SetLoggerForLevel(l Logger, lvl LogLevel)
	SetLoggerLevel(lvl LogLevel)
}{(*Consumer)(nil), (*Producer)(nil), (*ProducerPool)(nil)}
