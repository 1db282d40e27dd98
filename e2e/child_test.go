package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/nsqio/nsq/nsqadmin"
	"github.com/nsqio/nsq/nsqd"
	"github.com/nsqio/nsq/nsqlookupd"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/broker"
)

// The code in this file runs in a child process, the code in process_test.go in
// the test's.

const (
	// childEnv is the environment variable that makes this test binary run a
	// daemon. Its value is an order in JSON.
	childEnv = "NSQ_E2E_CHILD"

	// readyLine is the line that a child prints on its standard output once its
	// daemon listens.
	readyLine = "ready\n"

	exitFailed   = 1
	exitOrphaned = 3 // standard input ended
)

// order tells a child process which daemon to run, with all its options but the
// logger. One of the fields is set.
type order struct {
	NSQD    *nsqd.Options       `json:",omitempty"`
	Lookupd *nsqlookupd.Options `json:",omitempty"`
	Admin   *nsqadmin.Options   `json:",omitempty"`
}

// daemon returns the daemon's name.
func (o order) daemon() string {
	switch {
	case o.NSQD != nil:
		return "nsqd"
	case o.Admin != nil:
		return "nsqadmin"
	}
	return "nsqlookupd"
}

func TestMain(m *testing.M) {
	text, child := os.LookupEnv(childEnv)
	if !child {
		goleak.VerifyTestMain(m)
		return
	}
	go exitWithParent()
	if err := runChild(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
}

// exitWithParent exits the process when its standard input ends. That happens
// however the parent ends.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(exitOrphaned)
}

// runChild runs the daemon that the order in text describes, until SIGTERM.
func runChild(text string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	switch {
	case o.NSQD != nil:
		return runNSQD(ctx, o.NSQD)
	case o.Admin != nil:
		return runAdmin(ctx, o.Admin)
	}
	return runLookupd(ctx, o.Lookupd)
}

func runNSQD(ctx context.Context, opts *nsqd.Options) error {
	b, err := broker.Start(ctx, broker.Options{
		DataDir: opts.DataPath,
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Configure: func(_ int, o *nsqd.Options) {
			opts.Logger, opts.LogLevel = o.Logger, o.LogLevel
			*o = *opts
		},
	})
	if err != nil {
		return err
	}
	fmt.Print(readyLine)
	<-ctx.Done()
	return b.Stop()
}

func runLookupd(ctx context.Context, opts *nsqlookupd.Options) error {
	l, err := nsqlookupd.New(opts)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- l.Main() }()
	fmt.Print(readyLine)
	<-ctx.Done()
	l.Exit()
	return <-ended
}

func runAdmin(ctx context.Context, opts *nsqadmin.Options) error {
	a, err := nsqadmin.New(opts)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Main() }()
	fmt.Print(readyLine)
	<-ctx.Done()
	a.Exit()
	return <-ended
}
