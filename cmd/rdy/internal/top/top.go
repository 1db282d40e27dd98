// Package top is the live screen of "rdy top", and the lines of "rdy top --plain".
//
// A Model is told of keys, polls and the passing of time, and draws its screens as lines of
// text. What is wrong with a cluster is the judgement of package judge.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/admin"
)

// Options say what to show, and how.
type Options struct {
	// Name is the cluster's name on the screen. Empty stands for its first address.
	Name    string
	Cluster *admin.Cluster
	// Interval is the time between the beginnings of two polls.
	Interval time.Duration
	// Act does an action, and returns what each daemon has made of it. The error says why it
	// failed on some, or at all. It is called from another goroutine than polls are. With a nil
	// Act the screen offers no actions.
	Act func(ctx context.Context, a Action) ([]Result, error)
	// ASCII draws with ASCII only.
	ASCII bool
	// Input and Output are the terminal.
	Input  io.Reader
	Output io.Writer
}

// name returns the cluster's name.
func (o *Options) name() string {
	if o.Name != "" {
		return clean(o.Name)
	}
	addrs := slices.Concat(o.Cluster.Lookupds, o.Cluster.NSQDs)
	return clean(addrs[0])
}

// Run shows the screen until the user leaves it, ctx ends or the terminal is closed. It restores
// the terminal, and leaves no goroutine behind.
func Run(ctx context.Context, o Options) error {
	m := newModel(ctx, o)
	defer m.work.close()
	p := tea.NewProgram(m, tea.WithInput(o.Input), tea.WithOutput(o.Output), tea.WithoutSignalHandler())
	stop := context.AfterFunc(ctx, p.Quit)
	defer stop()
	_, err := p.Run()
	if ctx.Err() != nil || errors.Is(err, syscall.EIO) || errors.Is(err, io.EOF) {
		return nil // the terminal was closed, which ends ctx as well, but perhaps later
	}
	if err != nil {
		return fmt.Errorf("the screen failed: %w", err)
	}
	return nil
}
