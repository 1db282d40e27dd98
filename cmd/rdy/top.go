package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/top"
	"github.com/spf13/cobra"
)

const (
	minTopEvery     = time.Second
	maxTopEvery     = 24 * time.Hour
	minTopInterval  = 500 * time.Millisecond
	maxTopInterval  = time.Minute
	defaultTopEvery = time.Minute
)

// topCommand is what "rdy top" is told by its flags.
type topCommand struct {
	*app
	cluster  clusterFlags
	name     string
	interval time.Duration
	every    time.Duration
	plain    bool
	ascii    bool
	readOnly bool
}

func newTop(a *app) *cobra.Command {
	c := &topCommand{app: a, interval: defaultInterval, every: defaultTopEvery}
	cmd := &cobra.Command{
		Use:   "top (--lookupd address | --nsqd-http address)",
		Short: "Watch a cluster on a live screen",
		Long: `Watch the channels of a cluster on a live screen: first the problems that need you, then for
each channel its depth, the last hour of it, its rates, and when it drains. Enter opens a
channel with its clients and nsqds, "." offers to pause, empty or delete it, and "?" lists
the keys. Emptying and deleting ask for the name. Rows keep their places while you press
keys: rdy sorts them again on "r", or after 30 s without a key.

States: stuck, orphan (messages wait without a client), starved, retrying and the like need
you; draining, emptied and restarted are notices; paused is by choice. A state needs five
polls to begin and five to end. "≥" means that a daemon has not responded: the figure may be
higher. "–" means that a figure is not known yet.

The screen needs a terminal. 80 columns and 24 lines are enough; 132 columns show more.
Colours only mark states, and NO_COLOR turns them off. --plain prints lines instead: one
when a problem begins or ends, and a summary after each --every. With --json a line has
"at", "event" (summary, began or ended), "cluster" with its name, and either "figures" or
"problem". A problem has "level", "state", "kind", "topic", "channel", "addr", "since",
"ended", "text", "advice" and "command", the arguments of the rdy command that helps.

` + clusterHelp + "\n\n" + outputHelp + `

Exit codes: 0 after q, Ctrl-C, SIGTERM or a closed terminal, 1 failure, 2 invalid command
line or no terminal.`,
		Example: `  rdy top --lookupd 127.0.0.1:4161
  rdy top --nsqd-http 127.0.0.1:4151 --read-only --ascii
  rdy top --lookupd 127.0.0.1:4161 --plain --every 5m
  rdy top --lookupd 127.0.0.1:4161 --plain --jq 'select(.event == "began") | .problem.text'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd); err != nil {
				return err
			}
			t, err := c.cluster.target(cmd)
			if err != nil {
				return err
			}
			defer t.close()
			return c.run(cmd.Context(), t)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	c.cluster.add(f)
	f.StringVar(&c.name, "name", "", "name of the cluster on the screen (default: its first address)")
	f.Var(durationFlag(&c.interval, minTopInterval, maxTopInterval), "interval", "time between two polls")
	f.BoolVar(&c.readOnly, "read-only", false, "offer no actions")
	f.BoolVar(&c.ascii, "ascii", false, "draw with ASCII only")
	f.BoolVar(&c.plain, "plain", false, "print lines instead of a screen; needs no terminal")
	f.Var(durationFlag(&c.every, minTopEvery, maxTopEvery), "every", "time between two summaries of --plain")
	c.outputFlags(f)
	return cmd
}

// check returns an error if the flags do not fit together, or there is no terminal.
func (c *topCommand) check(cmd *cobra.Command) error {
	switch {
	case c.plain:
		return nil
	case c.json:
		return usage(cmd, "a screen is not JSON: --json, --jq and --template need --plain")
	case cmd.Flags().Changed("every"):
		return usage(cmd, "--every needs --plain")
	case !isTerminal(c.stdin):
		return usage(cmd, "standard input is not a terminal; --plain prints lines instead of a screen")
	case !isTerminal(c.stdout):
		return usage(cmd, "standard output is not a terminal; --plain prints lines instead of a screen")
	case os.Getenv("TERM") == "dumb":
		return usage(cmd, "the terminal cannot show a screen (TERM is dumb); --plain prints lines instead")
	}
	return nil
}

func (c *topCommand) run(ctx context.Context, t *target) error {
	o := top.Options{
		Name: c.name, Cluster: t.Cluster, Interval: c.interval, ASCII: c.ascii,
		Input: c.stdin, Output: c.stdout,
	}
	if !c.readOnly {
		o.Act = func(ctx context.Context, a top.Action) ([]top.Result, error) { return topAct(ctx, t.Cluster, a) }
	}
	if !c.plain {
		return top.Run(ctx, o)
	}
	if closedAtStart(c.stdout) {
		return errClosedAtStart
	}
	return top.Plain(ctx, o, c.every, func(e top.Event) error {
		return c.print(e, func() []byte { return append([]byte(e.String()), '\n') })
	}, func(failing string) {
		if failing == "" {
			failing = "all daemons respond again"
		}
		c.notice("rdy: %s", failing)
	})
}

// topActions are what the actions of the screen do with a topic and with a channel.
var topActions = map[string]struct {
	topic, channel func(*admin.Cluster, context.Context, names) error
}{
	top.Pause:   {onTopic((*admin.Cluster).PauseTopic), onChannel((*admin.Cluster).PauseChannel)},
	top.Unpause: {onTopic((*admin.Cluster).UnpauseTopic), onChannel((*admin.Cluster).UnpauseChannel)},
	top.Empty:   {onTopic((*admin.Cluster).EmptyTopic), onChannel((*admin.Cluster).EmptyChannel)},
	top.Delete:  {onTopic((*admin.Cluster).DeleteTopic), onChannel((*admin.Cluster).DeleteChannel)},
}

// topAct does an action of the screen, and returns what each daemon that has the topic or channel
// has made of it. The polls of the screen go on meanwhile, so it has a Cluster of its own.
func topAct(ctx context.Context, c *admin.Cluster, a top.Action) ([]top.Result, error) {
	asked := &requests{RoundTripper: c.Client.Transport}
	own := &admin.Cluster{Lookupds: c.Lookupds, NSQDs: c.NSQDs, Client: &http.Client{
		Transport: asked, Timeout: c.Client.Timeout, CheckRedirect: c.Client.CheckRedirect,
	}}
	do := topActions[a.Verb].topic
	if a.Channel != "" {
		do = topActions[a.Verb].channel
	}
	err := do(own, ctx, names{topic: a.Topic, channel: a.Channel})
	why := make(map[string]string)
	for _, failed := range nodeErrors(err) {
		why[failed.Addr] = failed.Error
	}
	var results []top.Result
	for _, r := range asked.results(own.Lookupds, err) {
		if r.Result == resultAbsent {
			continue
		}
		result := top.Result{Daemon: r.Daemon, Addr: r.Addr}
		if r.Result == resultFailed {
			result.Error = why[r.Addr]
		}
		results = append(results, result)
	}
	if len(asked.sent) == 0 && err == nil {
		err = errors.New("the nsqlookupds list no nsqd")
	}
	return results, err
}
