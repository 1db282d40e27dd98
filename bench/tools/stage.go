package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/broker"
)

const (
	channel = "tools"

	// pollEvery is how often the stage asks nsqd how far a tool is.
	pollEvery = 20 * time.Millisecond

	// almost is the share of the messages after which the clock stops. The last ones wait in
	// nsq_to_file until its next sync.
	almost = 0.99

	// patience is how long a tool may take to begin, to go on, or to end.
	patience = 30 * time.Second
)

// stage is what all runs share: two nsqds that keep messages in memory, and an HTTP server.
type stage struct {
	bin, dir string

	broker   *broker.Broker
	sink     *sink
	first    *admin.Cluster // the nsqd with the messages
	second   *admin.Cluster // the one that copies go to
	producer *nsq.Producer
	runs     int
}

// result is what a run has shown.
type result struct {
	rate float64 // messages a second
	cpu  float64 // µs a message
}

func (s *stage) start(ctx context.Context) (err error) {
	s.broker, err = broker.Start(ctx, broker.Options{NSQDs: 2, Configure: func(_ int, o *nsqd.Options) {
		o.MemQueueSize = 2 * million
	}})
	if err != nil {
		return err
	}
	nsqds := s.broker.NSQDs()
	s.first = &admin.Cluster{NSQDs: []string{nsqds[0].HTTPAddr}}
	s.second = &admin.Cluster{NSQDs: []string{nsqds[1].HTTPAddr}}
	if s.producer, err = nsq.NewProducer(nsqds[0].TCPAddr, nsq.NewConfig()); err == nil {
		s.producer.SetLogger(nil, nsq.LogLevelError)
		s.sink, err = startSink(ctx)
	}
	if err != nil {
		s.stop()
	}
	return err
}

func (s *stage) stop() {
	if s.producer != nil {
		s.producer.Stop()
	}
	if s.sink != nil {
		s.sink.stop()
	}
	_ = s.broker.Stop()
}

// measure has a tool do its work on new messages.
func (s *stage) measure(ctx context.Context, c toolCase, command func(room) []string) (r result, err error) {
	s.runs++
	nsqds := s.broker.NSQDs()
	at := room{
		topic: fmt.Sprintf("tools%d", s.runs), nsqd: nsqds[0].TCPAddr, to: nsqds[1].TCPAddr,
		url: "http://" + s.sink.addr() + "/", taken: s.sink.taken(),
	}
	if at.dir, err = os.MkdirTemp(s.dir, "tools-*"); err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(at.dir) }()
	if err := s.fill(ctx, at.topic, c.messages); err != nil {
		return r, err
	}
	defer s.clear(ctx, at.topic)
	args := command(at)
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, args[0]), args[1:]...) // #nosec G204 -- the user's programs
	if err := cmd.Start(); err != nil {
		return r, err
	}
	r.rate, err = s.follow(ctx, at.topic, c.messages)
	if stopErr := terminate(cmd); err == nil {
		err = stopErr
	}
	finished := int64(0)
	if err == nil {
		finished, err = s.finished(ctx, at, c)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	r.cpu = float64((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Nanoseconds()) / 1000 / float64(finished)
	fmt.Fprintf(os.Stderr, "%-36s %-12s %8.0f messages/s %8.2f µs\n", c.name, args[0], r.rate, r.cpu)
	return r, nil
}

// finished returns how many messages a tool has finished. It fails unless all of them have
// arrived.
func (s *stage) finished(ctx context.Context, at room, c toolCase) (int64, error) {
	counts, err := s.counts(ctx, at.topic)
	if err != nil {
		return 0, err
	}
	arrived, err := c.arrived(ctx, s, at)
	if err != nil {
		return 0, err
	}
	finished := int64(c.messages) - counts.Backlog()
	if arrived < finished {
		return 0, fmt.Errorf("%d messages are finished, and only %d have arrived", finished, arrived)
	}
	return finished, nil
}

// fill publishes messages to a new topic with a channel.
func (s *stage) fill(ctx context.Context, topic string, messages int) error {
	if err := errors.Join(s.first.CreateTopic(ctx, topic), s.first.CreateChannel(ctx, topic, channel)); err != nil {
		return err
	}
	batch := make([][]byte, 500)
	for i := range batch {
		batch[i] = text()
	}
	for left := messages; left > 0; left -= len(batch) {
		if err := s.producer.MultiPublish(topic, batch[:min(left, len(batch))]); err != nil {
			return err
		}
	}
	return s.await(ctx, topic, func(c admin.ChannelCounts) bool { return c.Depth == int64(messages) })
}

// text returns the body of a message: JSON, so that it can be compressed as logs can.
func text() []byte {
	b := fmt.Appendf(nil, `{"id":"%016x","user":%d,"path":"/articles/%d/comments","status":200,"agent":"`,
		rand.Uint64(), rand.IntN(million), rand.IntN(10_000)) // #nosec G404 -- filling
	b = append(b, strings.Repeat("Mozilla/5.0 (X11; Linux x86_64) ", body/32)...)
	return append(b[:body-2], `"}`...)
}

// clear deletes a topic from both nsqds, for the memory.
func (s *stage) clear(ctx context.Context, topic string) {
	_ = s.first.DeleteTopic(ctx, topic)
	_ = s.second.DeleteTopic(ctx, topic) // which only copy creates
}

// follow waits until almost all messages are finished, and returns the rate since the call.
func (s *stage) follow(ctx context.Context, topic string, messages int) (rate float64, err error) {
	start := time.Now()
	err = s.await(ctx, topic, func(c admin.ChannelCounts) bool {
		done := float64(int64(messages) - c.Backlog())
		rate = done / time.Since(start).Seconds()
		return done >= almost*float64(messages)
	})
	return rate, err
}

// await polls the counts of the channel until they are as wanted. It fails if they do not
// change any more.
func (s *stage) await(ctx context.Context, topic string, wanted func(admin.ChannelCounts) bool) error {
	var last admin.ChannelCounts
	changed := time.Now()
	for {
		counts, err := s.counts(ctx, topic)
		if err != nil {
			return err
		}
		if wanted(counts) {
			return nil
		}
		if counts.Backlog() != last.Backlog() {
			last, changed = counts, time.Now()
		}
		if time.Since(changed) > patience {
			return fmt.Errorf("nothing happens any more, with %d messages left", counts.Backlog())
		}
		time.Sleep(pollEvery)
	}
}

func (s *stage) counts(ctx context.Context, topic string) (none admin.ChannelCounts, err error) {
	view, err := s.first.PollClients(ctx, topic, channel) // of this topic only
	if err != nil {
		return none, err
	}
	if t := view.Topic(topic); t != nil && t.Channel(channel) != nil {
		return t.Channel(channel).ChannelCounts, nil
	}
	return none, fmt.Errorf("nsqd has no channel %s/%s", topic, channel)
}

// copied returns how many messages of a topic the second nsqd has.
func (s *stage) copied(ctx context.Context, topic string) (int64, error) {
	view, err := s.second.Poll(ctx)
	if err != nil {
		return 0, err
	}
	if t := view.Topic(topic); t != nil {
		return t.Depth, nil
	}
	return 0, nil
}

// terminate asks a tool to stop and waits until it has.
func terminate(cmd *exec.Cmd) error {
	err := cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	return errors.Join(err, cmd.Wait())
}
