package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/template"
	"time"

	"github.com/itchyny/gojq"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"golang.org/x/term"
)

const (
	defaultLogLevel = slog.LevelWarn

	// stopTimeout bounds how long a consumer or producer takes to stop. The
	// handlers here return at once, unless standard output blocks.
	stopTimeout = 5 * time.Second
)

// app holds what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	jq             *gojq.Code         // shapes the JSON; nil without --jq
	template       *template.Template // shapes the JSON; nil without --template
	level          slog.Level
	profile        string   // of --profile
	noProfile      bool     // flags that are not given get no value from the environment and profiles
	hangups        *hangups // nil in tests: then there are none
}

// logger returns a logger to stderr, at the level of --log-level, and the variable
// that changes its level.
func (a *app) logger() (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(a.level)
	return slog.New(slog.NewTextHandler(logWriter(a.stderr), &slog.HandlerOptions{Level: level})), level
}

// mute silences a logger while errors are expected, or are reported in another
// way. It does nothing if --log-level asks for more than the default.
func (a *app) mute(level *slog.LevelVar) {
	if a.level >= defaultLogLevel {
		level.Set(slog.LevelError + 1)
	}
}

// config returns the config that every consumer and producer starts from.
func (a *app) config(log *slog.Logger) *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.Logger = log
	cfg.UserAgent = "rdy/" + readVersion().Version
	cfg.StopTimeout = stopTimeout
	cfg.MaxAttempts = 0 // these commands never give up on a message
	return cfg
}

// notice tells the user something that is not a result. An error of the write is
// ignored: there is nowhere to report it.
func (a *app) notice(format string, args ...any) {
	_, _ = a.stderr.Write(noticeLine(format, args...))
}

// noticeLine returns a line for the user. What it quotes may come from nsqd or
// nsqlookupd, and must neither steer a terminal nor pass for a line of its own.
func noticeLine(format string, args ...any) []byte {
	return append(visible.Escape(fmt.Appendf(nil, format, args...), ""), '\n')
}

// printJSON writes v as one line of JSON, or what --jq or --template makes of it. What
// they have made before they fail is written as well.
func (a *app) printJSON(v any) error {
	out, err := a.render(v)
	if len(out) == 0 {
		return err
	}
	_, written := a.stdout.Write(out)
	return errors.Join(err, written)
}

// jsonLine returns v as JSON and a newline. It leaves "<", ">" and "&" readable:
// no web page receives the output.
func jsonLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// isTerminal reports whether file is a terminal.
func isTerminal(file any) (is bool) {
	withDescriptor(file, func(fd int) { is = term.IsTerminal(fd) })
	return is
}

// columns returns the width of a terminal, or 0 if file is not a terminal or does not
// tell its width.
func columns(file any) (n int) {
	withDescriptor(file, func(fd int) {
		if width, _, err := term.GetSize(fd); err == nil {
			n = width
		}
	})
	return n
}

// withDescriptor calls use with the descriptor of file, if that is an *os.File. Unlike
// File.Fd it does not make reads of a pipe block for good.
func withDescriptor(file any, use func(fd int)) {
	f, ok := file.(*os.File)
	if !ok {
		return
	}
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { use(int(fd)) }) // #nosec G115 -- a descriptor
	}
}

// logWriter returns a writer for lines that go to w beside a progress bar.
func logWriter(w io.Writer) io.Writer {
	if columns(w) > 0 {
		return overBar{w}
	}
	return w
}

// overBar clears the progress bar from the line before it writes there. The bar
// reappears below, when it is drawn next.
type overBar struct{ w io.Writer }

func (o overBar) Write(line []byte) (int, error) {
	const clearLine = "\r\x1b[K"
	n, err := o.w.Write(append([]byte(clearLine), line...))
	return max(n-len(clearLine), 0), err
}
