package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

const defaultDeadCount = 100

// deadList lists letters, or the topics that have some.
type deadList struct {
	dead
	filter deadFilter
	count  int // 0 means all
}

func newDeadList(a *app) *cobra.Command {
	l := &deadList{dead: dead{app: a}, count: defaultDeadCount}
	cmd := &cobra.Command{
		Use:   "list [TOPIC] (--lookupd address | --nsqd-http address)",
		Short: "List dead letters, or the topics that have some",
		Long: `List the dead letters of a topic: id, nsqd, when it failed, the topic and channel that it
comes from, how often it was delivered there, the size of the original body in bytes, and
the error. A letter without the headers of a dead letter is "(raw)".

Without a topic, list the topics whose names end in ` + letters.TopicSuffix + `, the default for dead
letters, with the messages that wait in them and in their channels. That reads no letter.

The JSON has "topic", "channel", "waiting" (how many letters there were), "letters", each
with "id", "nsqd", "stored", "attempts" (of the letter itself), "raw", "size", "origin"
("topic", "channel", "nsqd", "id", "attempts", "published") and "failed" ("at", "error",
"host"), and "errors". Without a topic it has "topics", as "rdy topic describe" prints
them, and "errors".`,
		Example: `  rdy dead list --lookupd 127.0.0.1:4161
  rdy dead list orders.billing.dead --lookupd 127.0.0.1:4161 --error timeout
  rdy dead list orders.billing.dead --nsqd-http 127.0.0.1:4151 -n 0 --jq '.letters[].failed.error'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return oneTopic(cmd, args)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	l.filter.add(f)
	f.VarP(intFlag(&l.count, 0, maxMessages), "count", "n", "list at most this many letters; 0 means no limit")
	return l.command(cmd, []string{deadHelp}, func(cmd *cobra.Command, t *target, args []string) error {
		if len(args) == 0 {
			return l.topics(cmd.Context(), t)
		}
		return l.list(cmd, t, args[0])
	})
}

// deadListResult is what "rdy dead list TOPIC --json" prints.
type deadListResult struct {
	Topic   string       `json:"topic"`
	Channel string       `json:"channel"`
	Waiting int64        `json:"waiting"`
	Letters []deadLetter `json:"letters"`
	Errors  []nodeError  `json:"errors"`
}

func (l *deadList) list(cmd *cobra.Command, t *target, topic string) error {
	cfg, err := l.clientConfig(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	r := deadListResult{Topic: topic, Channel: l.channel, Letters: []deadLetter{}}
	found, err := l.find(ctx, t, topic)
	if err != nil {
		r.Errors = nodeErrors(err)
		return l.failed(&r, err)
	}
	l.tell(found)
	r.Channel, r.Waiting = found.Channel, found.Waiting()
	_, err = letters.Read(ctx, l.wanted(found), letters.MaxBatch, cfg, func(letter *letters.Letter) (bool, error) {
		if l.filter.matches(letter) {
			r.Letters = append(r.Letters, newDeadLetter(letter))
		}
		return len(r.Letters) != l.count || l.count == 0, nil
	})
	err = errors.Join(err, incomplete(found.missing))
	r.Errors = nodeErrors(err)
	return errors.Join(l.print(&r, func() []byte { return r.table(time.Now()) }), err)
}

// wanted returns the queues with no more letters in them than are listed, so that no others
// are taken. A filter may choose any.
func (l *deadList) wanted(found *deadLetters) []letters.Queue {
	if l.count == 0 || l.filter.set() {
		return found.Queues
	}
	return found.First(int64(l.count))
}

// table returns the letters as text for people.
func (r *deadListResult) table(now time.Time) []byte {
	var out bytes.Buffer
	if len(r.Letters) > 0 {
		rows := [][]string{{"id", "nsqd", "failed ago", "origin", "attempts", "size", "error"}}
		for i := range r.Letters {
			rows = append(rows, r.Letters[i].cells(now))
		}
		align(&out, len(rows[0]), rows)
		out.WriteByte('\n')
	}
	fmt.Fprintf(&out, "%s of %s in channel %s of topic %s\n", figures.Count(int64(len(r.Letters))), countedLetters(r.Waiting), r.Channel, r.Topic)
	return out.Bytes()
}

func countedLetters(n int64) string { return figures.Count(n) + " " + figures.Noun(n, "letter") }

// deadTopics is what "rdy dead list --json" prints.
type deadTopics struct {
	Topics []admin.Topic `json:"topics"`
	Errors []nodeError   `json:"errors"`
}

// topics lists the topics of dead letters.
func (l *deadList) topics(ctx context.Context, t *target) error {
	v, err := t.poll(ctx, "", "")
	r := deadTopics{Topics: []admin.Topic{}, Errors: nodeErrors(err)}
	for _, topic := range v.Topics {
		if strings.HasSuffix(topic.Name, letters.TopicSuffix) {
			r.Topics = append(r.Topics, topic)
		}
	}
	return errors.Join(l.print(&r, r.table), incomplete(err))
}

// table returns the topics as text for people.
func (r *deadTopics) table() []byte {
	rows := [][]string{{"topic", "channel", "letters", "in flight", "deferred", "clients"}}
	for _, t := range r.Topics {
		if t.Depth > 0 || len(t.Channels) == 0 {
			rows = append(rows, []string{t.Name, noFigure, figures.Count(t.Depth), noFigure, noFigure, noFigure})
		}
		for i := range t.Channels {
			c := &t.Channels[i]
			rows = append(rows, []string{
				t.Name, c.Name, figures.Count(c.Depth), figures.Count(c.InFlight), figures.Count(c.Deferred),
				figures.Count(int64(c.ClientCount)),
			})
		}
	}
	if len(rows) == 1 {
		return []byte("no topic has a name that ends in " + letters.TopicSuffix + "\n")
	}
	var out bytes.Buffer
	align(&out, 2, rows)
	return out.Bytes()
}
