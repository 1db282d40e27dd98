package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/rdyhq/nsq"
	"golang.org/x/term"
)

const (
	defaultLogLevel = slog.LevelWarn

	// stopTimeout bounds how long a consumer waits for its handlers when it
	// stops. Those here end at once, unless nobody reads what they print.
	stopTimeout = 5 * time.Second
)

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	level          slog.Level
}

// logger returns a logger to stderr, and its level, which is the one that was
// asked for.
func (a *app) logger() (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(a.level)
	return slog.New(slog.NewTextHandler(logWriter(a.stderr), &slog.HandlerOptions{Level: level})), level
}

// mute silences a logger while something happens that looks bad but is told
// otherwise, or is meant to be. Who asked for more than the default hears it.
func (a *app) mute(level *slog.LevelVar) {
	if a.level >= defaultLogLevel {
		level.Set(slog.LevelError + 1)
	}
}

// config is the configuration of every consumer and producer.
func (a *app) config(log *slog.Logger) *nsq.Config {
	cfg := nsq.NewConfig()
	cfg.Logger = log
	cfg.UserAgent = "rdy/" + readVersion().Version
	cfg.StopTimeout = stopTimeout
	cfg.MaxAttempts = 0 // giving a message up is not for these commands to do
	return cfg
}

// say tells the user something that is not a result. Where that fails there is
// nobody to tell.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}

// printJSON writes v as one line of JSON.
func (a *app) printJSON(v any) error {
	line, err := jsonLine(v)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(line)
	return err
}

// jsonLine is v as JSON with a newline. Text stays readable: it goes to no web
// page that would take "<" for a tag.
func jsonLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// columns is the width of the terminal that w is, or 0.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return n
}

// logWriter returns a writer for lines among which a progress bar may stand.
func logWriter(w io.Writer) io.Writer {
	if columns(w) > 0 {
		return overBar{w}
	}
	return w
}

// overBar clears what a progress bar has left on the line before it writes. The
// bar comes back below, the next time it is drawn.
type overBar struct{ w io.Writer }

func (o overBar) Write(line []byte) (int, error) {
	const clearLine = "\r\x1b[K"
	n, err := o.w.Write(append([]byte(clearLine), line...))
	return max(n-len(clearLine), 0), err
}
