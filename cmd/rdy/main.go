// Command rdy is a command line for NSQ: it shows a consumer at work on a real
// cluster, publishes lines, prints the messages of a topic, sends them to HTTP
// servers, and runs a cluster for development.
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
	go watchSignals(signals, os.Stderr, cancel, os.Exit)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
