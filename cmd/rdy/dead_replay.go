package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

const maxRetriesLimit = 1_000_000

// deadReplay publishes the messages of letters again.
type deadReplay struct {
	dead
	filter      deadFilter
	all         bool
	allChannels bool
	to          string
	maxRetries  int // 0 means no limit
	rate        float64

	cfg    *nsq.Config
	poll   func(ctx context.Context, topic string) (*admin.View, error)
	told   int // letters that refused has heard of
	result deadReplayResult
}

// deadReplayResult is what "rdy dead replay --json" prints.
type deadReplayResult struct {
	Topic   string `json:"topic"`
	Channel string `json:"channel"`
	letters.Counts
	Doubtful int         `json:"doubtful"`
	Errors   []nodeError `json:"errors"`
}

const deadReplayHelp = `Publish the original bodies of dead letters to the topics that they come from, and remove
each letter when nsqd has confirmed its publish.

A topic copies each message to all its channels, not only to the one where it failed. So rdy
replays a letter only if the channel that it comes from is the topic's only one. With
--all-channels it replays the letter anyway, and says which channels get it. To have one
channel handle its letters again, use FromDeadLetters of the client library. --to publishes
to another topic, which may have one channel or none, and must not be ephemeral. Messages go
to nsqds that have the topic.

With --max-retries a letter stays if its message was already replayed that often. The count
is in the header "` + letters.HeaderRetries + `" of the message's own envelope. A plain body has no place for
it, so such letters stay as well. Without --max-retries bodies are published byte for byte.

  replayed  letters whose publish nsqd has confirmed
  left      letters that stay because of --max-retries
  failed    letters whose messages were certainly not published; they stay
  unknown   letters whose messages may have been published; they stay, and
            replaying them again may publish those messages twice
  doubtful  replayed letters that may still be there, because a connection or a lease ended

The command stops when a publish fails for any reason other than the message itself. After
Ctrl-C it completes the publish under way. If rdy is killed between a publish and the
removal, that letter stays: its message may be published twice, but is never lost. Letters
that arrive during the replay are not replayed. The JSON has "topic", "channel", these
counts and "errors". The exit code is 0 if all chosen letters were replayed or left.`

func newDeadReplay(a *app) *cobra.Command {
	r := &deadReplay{dead: dead{app: a}}
	cmd := &cobra.Command{
		Use:   "replay TOPIC (ID... | --all) (--lookupd address | --nsqd-http address)",
		Short: "Publish the messages of dead letters again",
		Long:  deadReplayHelp,
		Example: `  rdy dead replay orders.billing.dead 0f3a5c1b2d4e6f70 --lookupd 127.0.0.1:4161
  rdy dead replay orders.billing.dead --all --lookupd 127.0.0.1:4161 --error timeout --rate 50
  rdy dead replay orders.billing.dead --all --nsqd-http 127.0.0.1:4151 --to orders-again`,
		Args: func(cmd *cobra.Command, args []string) error { return deadChoice(cmd, args, r.all, r.filter) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&r.all, "all", false, "replay all letters, or all that the filters choose")
	r.filter.add(f)
	f.BoolVar(&r.allChannels, "all-channels", false, "replay although other channels get the messages as well")
	f.Var((*topicFlag)(&r.to), "to", "topic to publish to (default where the letter comes from)")
	f.Var(intFlag(&r.maxRetries, 0, maxRetriesLimit), "max-retries", "leave letters whose messages were replayed this often; 0 means no limit")
	f.Var(floatFlag(&r.rate, maxRate), "rate", "maximum messages per second; 0 means no limit")
	return r.command(cmd, []string{idHelp, deadHelp}, func(cmd *cobra.Command, t *target, args []string) (err error) {
		if r.to == args[0] {
			return usage(cmd, "--to %s is the topic of the letters", r.to)
		}
		if strings.HasSuffix(r.to, "#ephemeral") {
			return usage(cmd, "--to %s: nsqd drops the messages of an ephemeral topic that nobody consumes", r.to)
		}
		ids, err := parseDeadIDs(cmd, args[1:])
		if err != nil {
			return err
		}
		if r.cfg, err = r.clientConfig(cmd); err != nil {
			return err
		}
		r.poll = func(ctx context.Context, topic string) (*admin.View, error) { return t.poll(ctx, topic, "") }
		found, err := r.find(cmd.Context(), t, args[0])
		if err != nil {
			return r.failed(&deadReplayResult{Topic: args[0], Channel: r.channel, Errors: nodeErrors(err)}, err)
		}
		r.tell(found)
		return r.run(cmd.Context(), found, ids)
	})
}

// deadChoice checks the arguments of commands that change letters: a topic, and ids or --all.
func deadChoice(cmd *cobra.Command, args []string, all bool, filter deadFilter) error {
	switch {
	case len(args) == 0:
		return usage(cmd, "want a topic, and ids or --all")
	case len(args) == 1 && !all:
		return usage(cmd, "want ids or --all")
	case len(args) > 1 && all:
		return usage(cmd, "ids and --all exclude each other")
	case len(args) > 1 && filter.set():
		return usage(cmd, "--error and --origin need --all")
	}
	if _, err := parseDeadIDs(cmd, args[1:]); err != nil {
		return err
	}
	return oneTopic(cmd, args[:1])
}

// run replays the letters with these ids, or without any those that the filter chooses.
func (r *deadReplay) run(ctx context.Context, found *deadLetters, ids []letters.ID) error {
	replayer := &letters.Replayer{
		Config: r.cfg, Poll: r.poll, Named: r.cluster.nsqds, To: r.to, MaxRetries: r.maxRetries, Rate: r.rate, Agree: r.agree, Refused: r.refused,
	}
	defer replayer.Close()
	replay := func(l *letters.Letter) error {
		err := replayer.Replay(ctx, l)
		r.result.Counts = replayer.Counts
		return err
	}
	r.result = deadReplayResult{Topic: found.Topic, Channel: found.Channel}
	var err error
	if len(ids) > 0 {
		r.result.Doubtful, err = letters.With(ctx, found.Queues, r.cfg, ids, replay)
	} else {
		show := r.progress(found.Waiting())
		r.result.Doubtful, err = letters.Read(ctx, found.Queues, r.batch(), r.cfg, func(l *letters.Letter) (bool, error) {
			if !r.filter.matches(l) {
				return true, nil
			}
			err := replay(l)
			show()
			return err == nil, err
		})
	}
	err = errors.Join(err, r.result.err(), incomplete(found.missing))
	r.result.Errors = nodeErrors(err)
	return errors.Join(r.print(&r.result, r.result.table), err)
}

// batch returns how many letters to take at a time: no more than are replayed within half of
// a lease.
func (r *deadReplay) batch() int {
	const halfLease = 30 // seconds
	if r.rate == 0 {
		return letters.MaxBatch
	}
	return int(min(r.rate*halfLease, letters.MaxBatch))
}

// progress returns a function that shows how many letters were replayed.
func (r *deadReplay) progress(total int64) func() {
	start := time.Now()
	show := newProgress(r.stderr, start, total, messagesBar("replayed")...)
	var next time.Time
	return func() {
		now := time.Now()
		if now.Before(next) {
			return
		}
		next = now.Add(progressInterval)
		c := &r.result
		show.show(now, int64(c.Replayed), fmt.Sprintf("replayed %d  left %d  failed %d", c.Replayed, c.Left, c.Failed))
	}
}

// refused says why a letter was not replayed.
func (r *deadReplay) refused(l *letters.Letter, err error) {
	switch r.told++; {
	case r.told <= maxFailuresReported:
		r.notice("rdy: letter %s: %s", l.ID, oneLine(err))
	case r.told == maxFailuresReported+1:
		r.notice("rdy: further failures are counted but not shown")
	}
}

// agree returns an error unless messages may go to these channels, and says which ones they are.
func (r *deadReplay) agree(who letters.Recipients) error {
	switch {
	case who.Unknown != nil && !r.allChannels:
		return fmt.Errorf("the channels of topic %s are not known; --all-channels replays anyway: %w", who.Topic, who.Unknown)
	case who.Only():
		return nil
	case !r.allChannels:
		return fmt.Errorf("%s; --all-channels replays anyway", &who)
	}
	r.notice("rdy: %s", &who)
	return nil
}

// err returns an error unless each letter that was chosen was replayed or left.
func (r *deadReplayResult) err() error {
	if r.Failed+r.Unknown+r.Doubtful == 0 {
		return nil
	}
	return fmt.Errorf("%s failed, %d %s an unknown outcome, %d may still be there, %d %s replayed", figures.Things(r.Failed, "letter"),
		r.Unknown, figures.Verb(r.Unknown, "has", "have"), r.Doubtful,
		r.Replayed, figures.Verb(r.Replayed, "was", "were"))
}

// table returns the result as text for people.
func (r *deadReplayResult) table() []byte {
	var out bytes.Buffer
	align(&out, 1, [][]string{
		{"replayed", strconv.Itoa(r.Replayed)},
		{"left", strconv.Itoa(r.Left)},
		{"failed", strconv.Itoa(r.Failed)},
		{"unknown", strconv.Itoa(r.Unknown)},
		{"doubtful", strconv.Itoa(r.Doubtful)},
	})
	return out.Bytes()
}
