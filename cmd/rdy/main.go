// Command rdy is a command line for NSQ: it shows a consumer at work on a real
// cluster, publishes lines, prints the messages of a topic, appends them to files or
// sends them to HTTP servers, watches and changes topics and channels, and runs a cluster
// for development.
//
// "rdy --help" lists its commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// Without this, a write to a pipe whose reader has exited would kill the
	// process. With it the write fails, and tail can still requeue its messages.
	signal.Ignore(syscall.SIGPIPE)

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signal.Notify(signals, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	h := newHangups(signals)
	go watchSignals(signals, h, os.Stderr, cancel, os.Exit)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, level: defaultLogLevel, hangups: h}
	args := os.Args[1:]
	if name := oldName(os.Args[0]); name != "" {
		args = append([]string{"compat", name}, args...)
	}
	os.Exit(a.run(ctx, args))
}
