package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

// deadDrop removes letters.
type deadDrop struct {
	dead
	filter deadFilter
	all    bool
	yes    bool
}

// deadDropResult is what "rdy dead drop --json" prints.
type deadDropResult struct {
	Topic    string      `json:"topic"`
	Channel  string      `json:"channel"`
	Dropped  int         `json:"dropped"`
	Doubtful int         `json:"doubtful"`
	Errors   []nodeError `json:"errors"`
}

func newDeadDrop(a *app) *cobra.Command {
	d := &deadDrop{dead: dead{app: a}}
	cmd := &cobra.Command{
		Use:   "drop TOPIC (ID... | --all) (--lookupd address | --nsqd-http address)",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters, and so the messages in them. The command first says what will be lost.
On a terminal it then asks you to type the name of the topic. Without a terminal it needs
--yes.

Letters that arrive meanwhile stay. The JSON has "topic", "channel", "dropped", "doubtful"
(dropped letters that may still be there, because a connection or a lease ended) and
"errors". The exit code is 0 if all chosen letters were dropped.`,
		Example: `  rdy dead drop orders.billing.dead 0f3a5c1b2d4e6f70 --lookupd 127.0.0.1:4161
  rdy dead drop orders.billing.dead --all --error "no such order" --lookupd 127.0.0.1:4161 --yes`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := deadChoice(cmd, args, d.all, d.filter); err != nil {
				return err
			}
			if !d.yes && !isTerminal(d.stdin) {
				return usage(cmd, "letters will be lost, and there is no terminal to ask on: --yes is needed")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&d.all, "all", false, "drop all letters, or all that the filters choose")
	d.filter.add(f)
	f.BoolVar(&d.yes, "yes", false, "do not ask")
	return d.command(cmd, []string{idHelp, deadHelp}, func(cmd *cobra.Command, t *target, args []string) error {
		ids, err := parseDeadIDs(cmd, args[1:])
		if err != nil {
			return err
		}
		cfg, err := d.clientConfig(cmd)
		if err != nil {
			return err
		}
		found, err := d.find(cmd.Context(), t, args[0])
		if err == nil {
			err = d.agree(cmd.Context(), found, ids)
		}
		if err != nil {
			return d.failed(&deadDropResult{Topic: args[0], Channel: d.channel, Errors: nodeErrors(err)}, err)
		}
		d.tell(found)
		return d.run(cmd.Context(), found, ids, cfg)
	})
}

// agree says what is lost and returns an error unless the user agrees.
func (d *deadDrop) agree(ctx context.Context, found *deadLetters, ids []letters.ID) error {
	n := found.Waiting()
	what := fmt.Sprintf("%s will be lost", countedLetters(n))
	switch {
	case len(ids) > 0:
		var names []string
		for _, id := range ids {
			names = append(names, id.String())
		}
		what = fmt.Sprintf("%s will be lost: %s", figures.Things(len(ids), "letter"), figures.List(names))
	case d.filter.set():
		what = fmt.Sprintf("of %s, those that the filters choose will be lost", countedLetters(n))
	}
	d.notice("rdy: drop dead letters of topic %s: %s", found.Topic, what)
	if d.yes {
		return nil
	}
	d.notice("rdy: type the name %s to go on, or anything else to stop", found.Topic)
	typed, err := d.typed(ctx)
	if err == nil && typed != found.Topic {
		err = errors.New("name not typed; nothing dropped")
	}
	return err
}

// run drops the letters with these ids, or without any those that the filter chooses.
func (d *deadDrop) run(ctx context.Context, found *deadLetters, ids []letters.ID, cfg *nsq.Config) (err error) {
	r := deadDropResult{Topic: found.Topic, Channel: found.Channel}
	drop := func(l *letters.Letter) error {
		if err := l.Drop(); err != nil {
			return err
		}
		r.Dropped++
		return nil
	}
	if len(ids) > 0 {
		r.Doubtful, err = letters.With(ctx, found.Queues, cfg, ids, drop)
	} else {
		r.Doubtful, err = letters.Read(ctx, found.Queues, letters.MaxBatch, cfg, func(l *letters.Letter) (bool, error) {
			if !d.filter.matches(l) {
				return true, nil
			}
			return true, drop(l)
		})
	}
	if r.Doubtful > 0 {
		err = errors.Join(err, fmt.Errorf("%s of those dropped may still be there", figures.Things(r.Doubtful, "letter")))
	}
	err = errors.Join(err, incomplete(found.missing))
	r.Errors = nodeErrors(err)
	return errors.Join(d.print(&r, func() []byte { return fmt.Appendf(nil, "dropped  %d\n", r.Dropped) }), err)
}
