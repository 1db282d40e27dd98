package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// leaseTick is how often leases are looked at. It is short enough for a msg-timeout of one
// second, of which a third must not be missed.
const leaseTick = 250 * time.Millisecond

// storage is a to-file at work: what the writers of its topics share.
type storage struct {
	*toFile
	log     *slog.Logger
	frames  *framer
	group   *nsq.Group
	fail    context.CancelCauseFunc // ends the command
	trouble trouble

	stopping <-chan struct{} // closed when a stop begins
	stopped  chan struct{}   // closed when all Consumers have stopped
	running  sync.WaitGroup

	messages, bytes, files atomic.Int64 // written, before compression

	mu      sync.Mutex // guards the fields below
	writers map[string]*topicWriter
	left    []error // what the stop could not do
}

// toFileResult is the summary, as --json prints it.
type toFileResult struct {
	Messages int64   `json:"messages"` // written and finished; redeliveries count again
	Bytes    int64   `json:"bytes"`    // of their lines, before compression
	Files    int64   `json:"files"`    // created
	Seconds  float64 `json:"seconds"`
}

// run appends messages to files until ctx ends, and prints the summary.
func (t *toFile) run(ctx context.Context, cfg *nsq.Config) error {
	frames, err := newFramer(t.compression, t.level)
	if err != nil {
		return err
	}
	group, err := nsq.NewGroup(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.maxInFlight = cfg.MaxInFlight
	s := &storage{
		toFile: t, log: cfg.Logger, frames: frames, group: group, fail: cancel,
		trouble:  trouble{topics: make(map[string]int), since: make(map[string]time.Time)},
		stopping: ctx.Done(), stopped: make(chan struct{}),
		writers: make(map[string]*topicWriter),
	}
	start := time.Now()
	err = s.serve(ctx)
	r := toFileResult{s.messages.Load(), s.bytes.Load(), s.files.Load(), time.Since(start).Seconds()}
	if t.json {
		return errors.Join(err, t.printJSON(r))
	}
	t.notice("rdy: %s, %d bytes, written to %s", figures.Things(int(r.Messages), "message"), r.Bytes, figures.Things(int(r.Files), "file"))
	return err
}

// serve runs the Consumers and writers until ctx ends and all is written or given back.
func (s *storage) serve(ctx context.Context) error {
	s.running.Go(s.attend)
	err := s.subscribe(ctx)
	if err == nil {
		err = s.group.Run(ctx)
	}
	s.fail(err) // without effect, unless the group did not run
	close(s.stopped)
	s.running.Wait()
	err = errors.Join(append([]error{err}, s.left...)...)
	if cause, ok := errors.AsType[*failedError](context.Cause(ctx)); ok {
		err = errors.Join(cause.error, err)
	}
	return err
}

// subscribe adds the handlers and addresses to the group. Nothing is connected yet.
func (s *storage) subscribe(ctx context.Context) error {
	for _, topic := range s.topics {
		w, err := s.writer(topic)
		if err == nil {
			err = s.group.Handle(topic, s.channel, w, nsq.HandleOptions{})
		}
		if err != nil {
			return err
		}
	}
	if s.pattern != nil {
		found := func(topic string) nsq.Handler {
			w, err := s.writer(topic)
			if err != nil {
				s.notice("rdy: leaving topic %s alone: %v", topic, err)
				return nil
			}
			return w
		}
		if err := s.group.HandleMatching(s.pattern, s.channel, found, nsq.HandleOptions{}); err != nil {
			return err
		}
	}
	s.group.SetLookupdHttpClient(s.lookupdClient)
	return errors.Join(s.group.Connect(ctx, s.nsqds...), s.group.Discover(ctx, s.lookupds...))
}

// writer returns the writer of a topic. A topic that has gone and comes back has the same
// one as before.
func (s *storage) writer(topic string) (*topicWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.writers[topic]; w != nil {
		return w, nil
	}
	names, err := newNamer(s.filename, topic, s.frames.suffix)
	if err != nil {
		return nil, err
	}
	w := &topicWriter{storage: s, topic: topic, names: names, hand: newHand(), hangup: make(chan struct{}, 1)}
	s.writers[topic] = w
	s.running.Go(func() { w.run(s.stopping, s.stopped) })
	return w, nil
}

// attend keeps the leases of all messages in hand, and passes hangups to the writers,
// until all Consumers have stopped.
func (s *storage) attend() {
	hangups := s.hangups.claim()
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case now := <-tick.C:
			s.each(func(w *topicWriter) { w.hand.keepLeases(now) })
		case <-hangups:
			s.each(func(w *topicWriter) {
				select {
				case w.hangup <- struct{}{}:
				default: // it will complete its file anyway
				}
			})
		}
	}
}

func (s *storage) each(do func(*topicWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writers {
		do(w)
	}
}

// consumerOf returns the Consumer of a topic, nil if there is none.
func (s *storage) consumerOf(topic string) *nsq.Consumer {
	for _, c := range s.group.Consumers() {
		if state := c.Snapshot(); state.Topic == topic && state.State == nsq.ConsumerRunning {
			return c
		}
	}
	return nil
}

// opened notes that a file was created.
func (s *storage) opened(f *logFile) {
	s.files.Add(1)
	s.log.Info("file is open", "file", f.path)
}

// written notes that messages are on disk.
func (s *storage) written(messages, bytes int) {
	s.messages.Add(int64(messages))
	s.bytes.Add(int64(bytes))
}

// failedError is why --exit-on-error ends the command.
type failedError struct{ error }

// failed ends the command if --exit-on-error says so.
func (s *storage) failed(err error) {
	if s.exitOnError {
		s.fail(&failedError{fmt.Errorf("--exit-on-error: %w", err)})
	}
}

// leave notes what the stop could not do. The command fails with it.
func (s *storage) leave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = append(s.left, err)
}

// trouble knows what keeps writers from writing, and tells the user when that begins and
// ends, once for all topics.
type trouble struct {
	mu     sync.Mutex     // guards the fields below
	topics map[string]int // how many have this trouble
	since  map[string]time.Time
}

// change notes that a topic's trouble is another one; "" means none.
func (t *trouble) change(a *app, before, after string, err error) {
	if before == after {
		return
	}
	t.mu.Lock()
	began, ended := false, time.Duration(0)
	if after != "" {
		if t.topics[after]++; t.topics[after] == 1 {
			began, t.since[after] = true, time.Now()
		}
	}
	over := false
	if before != "" {
		if t.topics[before]--; t.topics[before] == 0 {
			over, ended = after == "", time.Since(t.since[before])
			delete(t.topics, before)
			delete(t.since, before)
		}
	}
	t.mu.Unlock()
	if began {
		a.notice("rdy: cannot write, trying again; meanwhile messages are neither finished nor lost: %v", err)
	}
	if over {
		a.notice("rdy: files are written again after %v: %s", ended.Round(time.Second), before)
	}
}
