package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// copyInFlight is below nsqd's max-rdy-count, 2500 by default. It makes batches of many hundred
// messages, beyond which larger ones gain little.
const copyInFlight = 2000

// copyCommand copies the messages of topics to nsqds, those of another cluster as a rule.
type copyCommand struct {
	*app
	sourceAddresses
	topics      []string
	pattern     *regexp.Regexp // nil without
	channel     string
	to          []string // addresses of nsqds
	toLookupds  []string
	toTopic     string
	mode        string
	filter      copyFilter
	copyInvalid bool
	sample      float64
	rate        float64 // messages per second; 0 means no limit
	maxInFlight int     // 0 means the default
	statusEvery int
	deadLetter  string
	client      clientFlags // of the source
	toClient    clientFlags

	// Tests replace these. nil means the net package, or the default.
	dial          dialFunc
	lookup        func(ctx context.Context, host string) ([]string, error)
	lookupdClient *http.Client // of the destination's nsqlookupds
}

const copyHelp = `Copy the messages of topics to other nsqds, until Ctrl-C. --nsqd and --lookupd name the
nsqds that messages come from, --to or --to-lookupd those that get them.

rdy finishes a message only when all nsqds that should get a copy have confirmed it. So
none is lost, but a copy may be stored twice: if rdy is killed, if a connection is lost
before nsqd has confirmed, or if only some copies of a message succeed. rdy publishes in
batches. Copies keep neither the order nor the IDs, timestamps and attempts. rdy gets a
deferred message when its delay is over, so its copy is delivered at once.

Several nsqds share the messages, or all get each of them:

  failover  the nsqds take turns, batch by batch; one that fails is left out until it
            works again
  all       each nsqd gets each message, and a retry goes only to those that do not
            have it yet. rdy keeps track of the latest 10,000 such messages of a
            topic, in memory; others go to all nsqds again. Needs --to.

While no copy can be stored, rdy says so once, takes no new messages, touches those that
it has, and tries again. nsqd allows that for its max-msg-timeout, 15 minutes by default,
and then delivers them again. rdy never has more than --max-in-flight messages of a topic
in flight. A stop waits three seconds for copies under way, and requeues the rest.

--to-topic names the topic of the copies, by default that of the messages. <TOPIC> in it
stands for that topic. It must not be ephemeral, because nsqd drops the messages of such a
topic that nobody consumes; only the copies of an ephemeral topic go to one by default.
rdy never copies its own copies in a loop: it refuses to start, or ends before it copies a
message of an nsqd that gets the copies. With --to-lookupd it may have copied the first ones
by then. It recognizes an nsqd by its IP addresses, and does not notice another program
that copies back.

--jq applies a jq expression to each message, which must be JSON. If the expression has no
result, rdy finishes the message without a copy. Otherwise each result becomes a message, as
JSON; a message may have 10,000 results at most, 4 MiB in all. A result that is the whole
message, as with select, is copied byte for byte.

Some messages cannot be copied: those that the nsqds refuse because of their size, that are
not JSON, or at which --jq fails. With --dead-letter they become dead letters, in a topic on
the nsqds of the source. Otherwise rdy retries them every 15 minutes, and reports the first
of each kind. With --copy-invalid it copies messages that are not JSON, or at which --jq
fails, as they are.

--sample chooses a message by its ID, so a retry has the same result. rdy finishes the
others without a copy.

Name the topics, or give --topic-pattern, which may match anywhere in a name. With a pattern
rdy asks the nsqlookupds for topics at once, and then every minute or --set
lookupd_poll_interval.

At the end, and with --status-every after that many messages, a line on standard error
reports the results. The last line covers the whole run; each other line covers the time
since the previous one. With --json the line is an object on standard output with final,
seconds, copied, published, filtered, invalid, not_sampled, requeued and dead_letters.
copied counts messages that are finished because their copies are stored, published the
copies, invalid those of --copy-invalid, and requeued deliveries, with those that the stop
gave back. The last object also has nsqds, each with nsqd, published, refused, not_sent and
unknown. These count tries: copies that the nsqd has confirmed, those in commands that it
has refused, those that it certainly did not get, and those that it may have.

--set applies to connections to the source, --to-set to those to the destination.

The exit code is 0 if rdy has finished or requeued all messages that it took, and 1
otherwise or if copying would never end.

` + clientHelp + `
The destination gets no secret but that of --to-auth-secret-file.`

const copyExamples = `  rdy copy orders --nsqd 127.0.0.1:4150 --channel staging --to staging:4150 --sample 0.01
  rdy copy --topic-pattern '^audit\.' --lookupd nsqlookupd:4161 --channel mirror --to-lookupd backup:4161
  rdy copy orders --lookupd nsqlookupd:4161 --channel paid --to 127.0.0.1:4150 --to-topic '<TOPIC>.paid' \
      --jq 'select(.state == "paid") | {id, total}' --dead-letter orders.broken`

func newCopy(a *app) *cobra.Command { return defaultCopy(a).command() }

func defaultCopy(a *app) *copyCommand {
	return &copyCommand{
		app: a, toTopic: topicPlaceholder, mode: modeFailover, sample: 1,
		toClient: clientFlags{prefix: "to-", of: " of the destination"},
	}
}

func (c *copyCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "copy TOPIC... (--nsqd host:port | --lookupd host:port) --channel name (--to host:port | --to-lookupd host:port)",
		Short:   "Copy the messages of topics to other nsqds",
		Long:    copyHelp,
		Example: copyExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.topics = args
			if err := c.validate(cmd); err != nil {
				return err
			}
			log, _ := c.logger()
			cfg, err := c.consumerConfig(log)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			to, err := c.producerConfig()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			if c.json && closedAtStart(c.stdout) {
				return errClosedAtStart
			}
			return c.run(cmd.Context(), cfg, to)
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

func (c *copyCommand) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	c.addAddresses(f)
	f.Var(patternFlag{&c.pattern}, "topic-pattern", "also take all topics whose names match; needs --lookupd")
	f.Var((*channelFlag)(&c.channel), "channel", "channel to read from")
	f.Var((*addrsFlag)(&c.to), "to", "TCP address of an nsqd that gets copies; repeat the flag for more")
	f.Var((*addrsFlag)(&c.toLookupds), "to-lookupd", "HTTP address of an nsqlookupd that lists the nsqds that get copies; repeat the flag for more")
	f.StringVar(&c.toTopic, "to-topic", c.toTopic, "`topic` of the copies")
	f.Var(oneOfFlag(&c.mode, modeFailover, modeAll), "mode", "with several nsqds: publish each copy to one of them (failover) or to all of them (all)")
	f.Var(&c.filter, "jq", "copy what a jq `expression` makes of each message")
	f.BoolVar(&c.copyInvalid, "copy-invalid", false, "copy messages as they are that are not JSON or at which --jq fails")
	f.Var(floatFlag(&c.sample, 1), "sample", "share of the messages to copy; the others are finished")
	f.Var(floatFlag(&c.rate, maxRate), "rate", "maximum messages per second; 0 means no limit")
	f.Var(intFlag(&c.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages of each topic that are held at a time (default 2000, less with --rate)")
	f.Var(intFlag(&c.statusEvery, 0, maxStatus), "status-every", "report after this many messages; 0 means only at the end")
	f.Var((*topicFlag)(&c.deadLetter), "dead-letter", "topic for messages that cannot be copied")
	c.client.add(f)
	c.toClient.add(f)
}

// validate checks the command line before anything is dialled.
func (c *copyCommand) validate(cmd *cobra.Command) error {
	slices.Sort(c.topics)
	c.topics = slices.Compact(c.topics)
	for _, topic := range c.topics {
		if !nsq.IsValidTopicName(topic) {
			return usage(cmd, "invalid topic %q: want %s", topic, nameRule)
		}
	}
	switch {
	case len(c.topics) == 0 && c.pattern == nil:
		return usage(cmd, "want a topic or --topic-pattern")
	case c.pattern != nil && len(c.lookupds) == 0:
		return usage(cmd, "--topic-pattern needs --lookupd: only nsqlookupd knows the topics")
	case len(c.nsqds)+len(c.lookupds) == 0:
		return c.checkAddresses(cmd)
	case c.channel == "":
		return usage(cmd, "--channel is missing")
	case len(c.to)+len(c.toLookupds) == 0:
		return usage(cmd, "--to or --to-lookupd is missing; give the address of an nsqd that gets the copies")
	case len(c.to) > 0 && len(c.toLookupds) > 0:
		return usage(cmd, "--to and --to-lookupd exclude each other")
	case c.mode == modeAll && len(c.to) == 0:
		return usage(cmd, "--mode all needs --to: the nsqds that an nsqlookupd lists may change")
	case len(c.to) > maxURLs:
		return usage(cmd, "want --to at most %d times", maxURLs)
	case c.copyInvalid && c.filter.code == nil:
		return usage(cmd, "--copy-invalid needs --jq: without it messages need not be JSON")
	case !nsq.IsValidTopicName(strings.ReplaceAll(c.toTopic, topicPlaceholder, "t")):
		return usage(cmd, "invalid --to-topic %q: want %s, and %s for the topic of the message", c.toTopic, nameRule, topicPlaceholder)
	case strings.HasSuffix(c.toTopic, "#ephemeral"):
		return usage(cmd, "--to-topic %s: nsqd drops the messages of an ephemeral topic that nobody consumes", c.toTopic)
	}
	for _, topic := range c.topics {
		if err := c.checkTopic(topic); err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

// checkTopic returns an error if a topic cannot be copied, or if it can be seen from the
// addresses alone that copying would never end.
func (c *copyCommand) checkTopic(topic string) error {
	to := c.destination(topic)
	switch {
	case !nsq.IsValidTopicName(to):
		return fmt.Errorf("topic %s: --to-topic makes the invalid name %q of it", topic, to)
	case topic == c.deadLetter:
		return fmt.Errorf("--dead-letter %s is a topic to copy", topic)
	case !c.reads(to):
		return nil
	}
	same := func(addr string) bool { return slices.Contains(c.nsqds, addr) }
	if i := slices.IndexFunc(c.to, same); i >= 0 {
		return &endlessError{topic, to, c.to[i]}
	}
	same = func(addr string) bool { return slices.Contains(c.lookupds, addr) }
	if i := slices.IndexFunc(c.toLookupds, same); i >= 0 {
		return &endlessError{topic, to, "the nsqds of nsqlookupd " + c.toLookupds[i]}
	}
	return nil
}

// topicPlaceholder stands for the topic of a message.
const topicPlaceholder = "<TOPIC>"

// destination returns the topic of the copies of a topic's messages.
func (c *copyCommand) destination(topic string) string {
	return strings.ReplaceAll(c.toTopic, topicPlaceholder, topic)
}

// reads reports whether the command reads a topic.
func (c *copyCommand) reads(topic string) bool {
	return slices.Contains(c.topics, topic) || c.pattern != nil && c.pattern.MatchString(topic)
}

// consumerConfig returns the config of the consumers. Options that --set names override the
// command's own defaults, and other flags override both.
func (c *copyCommand) consumerConfig(log *slog.Logger) (*nsq.Config, error) {
	cfg := c.config(log)
	cfg.DialContext = c.dial
	cfg.RecycleBodies = true // a publish does not need a body after it has returned
	cfg.MaxInFlight = copyInFlight
	if c.rate > 0 { // or messages would wait here until their leases end
		cfg.MaxInFlight = int(max(1, min(copyInFlight, math.Ceil(c.rate*maxQueued.Seconds()))))
	}
	if err := c.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxInFlight = cmp.Or(c.maxInFlight, cfg.MaxInFlight)
	cfg.AutoTouch = 0 // the deadlines that hand reads would lie behind the ends of leases
	switch {
	case cfg.MaxAttempts > 0 && c.deadLetter == "":
		return nil, errors.New("--set max_attempts needs --dead-letter: a message given up would be lost")
	case strings.HasSuffix(c.deadLetter, "#ephemeral"):
		return nil, fmt.Errorf("--dead-letter %s: nsqd does not keep the messages of an ephemeral topic", c.deadLetter)
	case cfg.MaxInFlight == 0:
		return nil, errors.New("--set max_in_flight,0 would copy nothing")
	}
	return cfg, cfg.Validate()
}

// producerConfig returns the config of the producers. Its short heartbeats find an nsqd that
// hangs within the leases of the messages that wait for it.
func (c *copyCommand) producerConfig() (*nsq.Config, error) {
	log, level := c.logger()
	c.mute(level) // the command itself reports what fails
	cfg := c.config(log)
	cfg.DialContext = c.dial
	cfg.HeartbeatInterval, cfg.ReadTimeout, cfg.WriteTimeout = pubHeartbeat, 2*pubHeartbeat, 2*pubHeartbeat
	if err := c.toClient.apply(cfg); err != nil {
		return nil, err
	}
	return cfg, cfg.Validate()
}
