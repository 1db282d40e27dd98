package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	maxConcurrency = 10_000
	maxHTTPWait    = time.Hour // of --timeout and --connect-timeout
	maxStatus      = 1_000_000_000
	minHTTPWait    = time.Millisecond
	touchFor       = 24 * time.Hour   // nsqd's max-msg-timeout, 15 minutes by default, ends a lease before
	maxQueued      = 10 * time.Second // that messages may wait here for --rate
)

// The delay of a message that failed is httpRetryDelay times its attempts, at most
// maxHTTPRetryDelay.
const (
	httpRetryDelay    = 10 * time.Second
	maxHTTPRetryDelay = 10 * time.Minute
)

// toHTTP sends the messages of a topic to HTTP servers.
type toHTTP struct {
	source
	channel        string
	urls           []*destination
	mode           string
	method         string
	contentType    string
	headers        headersFlag
	attributes     bool
	concurrency    int
	maxInFlight    int // 0 means the default
	timeout        time.Duration
	connectTimeout time.Duration
	ca             string
	sample         float64
	rate           float64 // messages per second; 0 means no limit
	statusEvery    int
	maxAttempts    int
	deadLetter     string
	client         clientFlags

	// dial opens connections to nsqds and servers. nil means the net package.
	dial dialFunc
}

const toHTTPHelp = `Make a request for each message of a topic, with the message as its body, until
Ctrl-C, which waits for the requests in flight.

A message is finished when a server has responded with a 2xx status. No message is
dropped, and each is delivered at least once. Servers can recognize a repeated
message by the header Nsq-Message-Id.

  408, 425, 429, 5xx    rdy retries after 10 s times the attempts so far, at
  no response           most 10 minutes (--set default_requeue_delay,VALUE and
                        max_requeue_delay), and requests become fewer as long as
                        they fail. If the server asks for a delay by Retry-After,
                        rdy retries after that, a second to an hour.
  other 4xx, 3xx        The server refuses the message. It becomes a dead letter
                        if --dead-letter is given. Otherwise rdy retries every
                        15 minutes, and reports the first refusal of each
                        status. Only GET follows redirects, on the same host.

If more than ten messages in a row fail for whatever reason, requests become fewer
until one succeeds. Dead letters do not count.

rdy touches a message while its request runs, up to --timeout and nsqd's
max-msg-timeout. A request ends early if its message is lost to another consumer.

The path and the query of a URL and the value of a header may contain {{.Topic}},
{{.ID}}, {{.Attempts}}, {{.Timestamp}} and {{.Body}}. They are escaped where URLs
need it. GET and DELETE have no body, so their URL or a header has to contain
{{.Body}}. The headers Nsq-Message-Id, Nsq-Attempts, Nsq-Timestamp and Nsq-Topic
are sent with each request, unless --attributes=false.

Several URLs share the messages, or all get each of them:

  least-failing  the URL with the fewest requests in flight; one that fails is
                 left out, and tried now and then until it works again
  round-robin    each in turn
  all            each URL gets each message, and a retry goes to those that do
                 not have it yet. The command keeps track of the latest 10,000
                 such messages, in memory; others go to all URLs again.

--sample chooses a message by its ID, so a retry has the same result. rdy finishes
the others without a request.

Requests use the proxy that the environment names (HTTP_PROXY, HTTPS_PROXY,
NO_PROXY). Other users of this machine can see the command line, headers included.

At the end, and with --status-every after that many messages, a line on standard
error reports the results of messages and requests, and how long requests took. The
last line covers the whole run; each other line covers the time since the previous
one. With --json the line is an object on standard output with final, seconds,
delivered, requeued, dead_letters, not_sampled and urls. requeued counts deliveries,
with those that the stop gave back. Each of the urls has url, delivered, failed,
refused, mean_ms, p95_ms and p99_ms.

` + clientHelp

const toHTTPExamples = `  rdy to-http orders https://example.com/hook --lookupd nsqlookupd:4161 --channel hook --dead-letter orders.refused
  rdy to-http clicks 'http://stats/count?page={{.Body}}' --method GET --nsqd 127.0.0.1:4150 --channel stats --sample 0.1`

func newToHTTP(a *app) *cobra.Command { return defaultToHTTP(a).command() }

func defaultToHTTP(a *app) *toHTTP {
	return &toHTTP{
		source: source{app: a}, mode: modeLeastFailing, method: http.MethodPost,
		contentType: "application/octet-stream", attributes: true, concurrency: 100,
		timeout: 20 * time.Second, connectTimeout: 2 * time.Second, sample: 1,
	}
}

func (h *toHTTP) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "to-http TOPIC URL... (--nsqd host:port | --lookupd host:port) --channel name",
		Short:   "Send the messages of a topic to HTTP servers",
		Long:    toHTTPHelp,
		Example: toHTTPExamples,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := h.validate(cmd, args); err != nil {
				return err
			}
			log, level := h.logger()
			cfg, err := h.consumerConfig(log)
			if err != nil {
				return usage(cmd, "%w", err)
			}
			client, err := newHTTPClient(h.ca, h.connectTimeout, h.requestsAtATime(), h.dial)
			if err != nil {
				return usage(cmd, "--http-ca: %w", err)
			}
			if h.json && closedAtStart(h.stdout) {
				return errClosedAtStart
			}
			return h.run(cmd.Context(), cfg, level, client)
		},
	}
	h.addFlags(cmd.Flags())
	return cmd
}

func (h *toHTTP) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	h.addAddresses(f)
	f.Var((*channelFlag)(&h.channel), "channel", "channel to read from")
	f.Var(oneOfFlag(&h.method, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete), "method", "method of the requests")
	f.Var(&h.headers, "header", "header of the requests; repeat the flag for more")
	f.StringVar(&h.contentType, "content-type", h.contentType, "Content-Type of requests with a body")
	f.BoolVar(&h.attributes, "attributes", true, "send the headers that begin with Nsq-")
	f.Var(oneOfFlag(&h.mode, modeLeastFailing, modeRoundRobin, modeAll), "mode", "which of several URLs gets a message")
	f.Var(intFlag(&h.concurrency, 1, maxConcurrency), "concurrency", "maximum messages that are sent at a time")
	f.Var(intFlag(&h.maxInFlight, 1, maxMaxInFlight), "max-in-flight", "maximum messages that are held at a time (default twice --concurrency, less with --rate)")
	f.Var(durationFlag(&h.timeout, minHTTPWait, maxHTTPWait), "timeout", "how long a request may take")
	f.Var(durationFlag(&h.connectTimeout, minHTTPWait, maxHTTPWait), "connect-timeout", "how long connecting to a server may take")
	f.StringVar(&h.ca, "http-ca", "", "PEM `file` with the roots to trust for https, instead of the system's")
	f.Var(floatFlag(&h.sample, 1), "sample", "share of the messages to send; the others are finished")
	f.Var(floatFlag(&h.rate, maxRate), "rate", "maximum messages per second; 0 means no limit")
	f.Var(intFlag(&h.statusEvery, 0, maxStatus), "status-every", "report after this many messages; 0 means only at the end")
	f.Var((*topicFlag)(&h.deadLetter), "dead-letter", "topic for messages that servers refuse")
	f.Var(intFlag(&h.maxAttempts, 0, math.MaxUint16), "max-attempts", "attempts after which a message that fails becomes a dead letter; 0 means no limit")
	h.client.add(f)
}

// validate checks the command line before anything is dialled.
func (h *toHTTP) validate(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return usage(cmd, "want a topic and a URL, got %s", figures.Things(len(args), "argument"))
	}
	if err := oneTopic(cmd, args[:1]); err != nil {
		return err
	}
	h.topic = args[0]
	if err := h.checkAddresses(cmd); err != nil {
		return err
	}
	switch {
	case h.channel == "":
		return usage(cmd, "--channel is missing")
	case len(args)-1 > maxURLs:
		return usage(cmd, "want at most %d URLs", maxURLs)
	case h.deadLetter == h.topic:
		return usage(cmd, "--dead-letter %s is the topic itself", h.deadLetter)
	case !hasBody(h.method) && cmd.Flags().Changed("content-type"):
		return usage(cmd, "--content-type has no meaning with --method %s, which sends no body", h.method)
	}
	if _, err := parseHeader("Content-Type: " + h.contentType); err != nil || strings.Contains(h.contentType, "{{") {
		return usage(cmd, "--content-type %q is not a content type", h.contentType)
	}
	return h.parseURLs(cmd, args[1:])
}

func (h *toHTTP) parseURLs(cmd *cobra.Command, urls []string) error {
	seen := make(map[string]bool)
	inHeader := false
	for _, t := range h.headers {
		inHeader = inHeader || t.value.has(bodyName)
	}
	for i, s := range urls {
		u, err := parseURL(s)
		if err != nil {
			return usage(cmd, "URL %d: %w", i+1, err) // without the URL, which may have a password in it
		}
		if seen[s] {
			return usage(cmd, "URL %d is a duplicate", i+1)
		}
		seen[s] = true
		if !hasBody(h.method) && !inHeader && !u.has(bodyName) {
			return usage(cmd, "URL %d: --method %s sends no body, so the URL or a header has to contain {{.Body}}", i+1, h.method)
		}
		h.urls = append(h.urls, &destination{urlTemplate: u})
	}
	return nil
}

// requestsAtATime returns how many requests there may be at a time, all to the same host at
// the worst.
func (h *toHTTP) requestsAtATime() int {
	if h.mode == modeAll {
		return h.concurrency * len(h.urls)
	}
	return h.concurrency
}

// consumerConfig returns the config of the consumer. Options that --set names override the
// defaults of this command, and other flags override both.
func (h *toHTTP) consumerConfig(log *slog.Logger) (*nsq.Config, error) {
	cfg := h.config(log)
	cfg.DialContext = h.dial
	cfg.LookupdPollInterval = pollInterval
	cfg.BackoffPolicy = nsq.BackoffAdaptive // by steps a few failures among many successes would stop everything
	cfg.DefaultRequeueDelay, cfg.MaxRequeueDelay = httpRetryDelay, maxHTTPRetryDelay
	cfg.AutoTouch = touchFor
	cfg.StopTimeout = h.timeout + stopTimeout
	cfg.MaxInFlight = 2 * h.concurrency
	if h.rate > 0 { // or messages would wait here until their leases end
		cfg.MaxInFlight = int(min(float64(cfg.MaxInFlight), math.Ceil(h.rate*maxQueued.Seconds())))
	}
	if err := h.client.apply(cfg); err != nil {
		return nil, err
	}
	cfg.MaxInFlight = cmp.Or(h.maxInFlight, cfg.MaxInFlight)
	if h.maxAttempts > 0 {
		cfg.MaxAttempts = uint16(h.maxAttempts) // #nosec G115 -- the flag's range
	}
	if cfg.MaxAttempts > 0 && h.deadLetter == "" {
		return nil, fmt.Errorf("--max-attempts needs --dead-letter: a message given up would be lost")
	}
	if strings.HasSuffix(h.deadLetter, "#ephemeral") {
		return nil, fmt.Errorf("--dead-letter %s: nsqd does not keep the messages of an ephemeral topic", h.deadLetter)
	}
	return cfg, cfg.Validate()
}

// run sends messages until ctx ends.
func (h *toHTTP) run(ctx context.Context, cfg *nsq.Config, level *slog.LevelVar, client *http.Client) error {
	defer client.CloseIdleConnections()
	c := newCourier(ctx, h, client)
	if h.deadLetter != "" {
		pool, err := h.pool(cfg) // dead letters go to the nsqds that messages come from
		if err != nil {
			return err
		}
		defer pool.Stop()
		cfg.DeadLetter = &nsq.DeadLetterPolicy{To: pool, Topic: h.deadLetter}
		cfg.Hooks = []nsq.Hooks{{Buried: c.buried}}
		cfg.Logger = h.withoutHopeless(cfg.Logger)
		c.burials = &burials{app: h.app}
		defer c.burials.run()()
	}
	consumer, err := nsq.NewConsumer(h.topic, h.channel, cfg)
	if err != nil {
		return err
	}
	consumer.AddConcurrentHandlers(c, h.concurrency)
	if err := h.connect(ctx, consumer, level); err != nil {
		consumer.Stop()
		<-consumer.StopChan
		return err
	}
	err = consumer.Run(ctx)
	return errors.Join(err, c.reportEnd(consumer))
}
