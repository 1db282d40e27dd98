package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/rdyhq/nsq/admin"
	"github.com/spf13/cobra"
)

// actionHelp is about what all actions print.
const actionHelp = `The result for each daemon is "done", "absent" if it does not have the topic or channel, or
"failed". A daemon that does not respond in time counts as failed, but may still carry out
the request. The JSON has "action", "topic", "channel", "results" with "daemon", "addr" and
"result", and "errors".`

// lossHelp is about actions that lose messages.
const lossHelp = `The command first says what will be lost. On a terminal it then asks you to type the name
of the topic or channel. Without a terminal it needs --yes.`

// names are what an action is about.
type names struct {
	topic   string
	channel string // empty if the action is about the topic
	nsqd    string // empty if the action is about all nsqds
}

func (n names) String() string {
	text := "topic " + n.topic
	if n.channel != "" {
		text = "channel " + n.channel + " of " + text
	}
	if n.nsqd != "" {
		text += " on nsqd " + n.nsqd
	}
	return text
}

// action changes a topic or channel on the daemons of a cluster.
type action struct {
	*app
	cluster clusterFlags
	verb    string // such as "delete"
	past    string // such as "deleted"
	do      func(c *admin.Cluster, ctx context.Context, n names) error
	loses   func(v *admin.View, n names) (loss, error) // what is lost; nil if nothing is
	yes     bool
}

// command completes the command of an action, whose help is given. parse returns what the
// arguments name.
func (c *action) command(cmd *cobra.Command, parse func(args []string) names) *cobra.Command {
	help := []string{cmd.Long, clusterHelp, actionHelp, outputHelp}
	if c.loses != nil {
		help = slices.Insert(help, 1, lossHelp)
	}
	cmd.Long = strings.Join(help, "\n\n")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if c.loses != nil && !c.yes && !isTerminal(c.stdin) {
			return usage(cmd, "messages will be lost, and there is no terminal to ask on: --yes is needed")
		}
		t, err := c.cluster.target(cmd)
		if err != nil {
			return err
		}
		defer t.close()
		return c.run(cmd.Context(), t, parse(args))
	}
	f := cmd.Flags()
	f.SortFlags = false
	c.cluster.add(f)
	if c.loses != nil {
		f.BoolVar(&c.yes, "yes", false, "do not ask")
	}
	c.outputFlags(f)
	return cmd
}

// run does the action and prints its result, also if it has failed.
func (c *action) run(ctx context.Context, t *target, n names) error {
	asked := &requests{RoundTripper: t.Client.Transport}
	t.Client.Transport = asked
	uncounted, err := c.agree(ctx, t, n)
	if err == nil {
		err = c.do(t.Cluster, ctx, n)
		if len(asked.sent) == 0 && (err == nil || errors.Is(err, admin.ErrNotFound)) {
			err = errors.New("the nsqlookupds list no nsqd")
		}
	}
	if err == nil && uncounted != nil {
		c.notice("rdy: what was lost is not known: %s", oneLine(uncounted))
	}
	r := &actionResult{
		Action: c.verb, Topic: n.topic, Channel: n.channel,
		Results: asked.results(t.Lookupds, err), Errors: nodeErrors(err),
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", c.verb, n, err)
	}
	return errors.Join(c.print(r, func() []byte { return r.table(c.past) }), err)
}

// agree says what is lost and returns an error unless the user agrees. If no daemon has
// responded, it says nothing: the action most likely fails for the same reason, and its error
// tells that. uncounted is the reason.
func (c *action) agree(ctx context.Context, t *target, n names) (uncounted, err error) {
	if c.loses == nil {
		return nil, nil
	}
	v, err := t.poll(ctx, n.topic, n.channel)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !anyResponded(v) && c.yes:
		return err, nil
	case !anyResponded(v):
		return nil, err
	}
	l, unfit := c.loses(v, n)
	switch {
	case unfit != nil:
		return nil, errors.Join(unfit, err)
	case l.nsqds == 0 && err == nil && len(t.Lookupds) == 0:
		return nil, nil // the action says that it was not found
	}
	for _, one := range nodeErrors(err) {
		c.notice("rdy: not counted: %s: %s", one.Addr, one.Error)
	}
	c.notice("rdy: %s %s: %s", c.verb, n, l.sentence(v.Partial()))
	if c.yes {
		return nil, nil
	}
	name := cmp.Or(n.channel, n.topic)
	c.notice("rdy: type the name %s to go on, or anything else to stop", name)
	typed, err := c.typed(ctx)
	if err == nil && typed != name {
		err = errors.New("name not typed; nothing changed")
	}
	return nil, err
}

// anyResponded reports whether a daemon has responded.
func anyResponded(v *admin.View) bool {
	return slices.ContainsFunc(v.Lookupds, func(l admin.Lookupd) bool { return l.Error == "" }) ||
		slices.ContainsFunc(v.NSQDs, func(n admin.NSQD) bool { return n.Error == "" })
}

// typed returns the next line of standard input without spaces around it. A read of a
// terminal cannot be interrupted: when ctx ends typed does not wait for it, and the
// goroutine ends with the process.
func (a *app) typed(ctx context.Context) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil {
			text = "" // the terminal was closed before Enter
		}
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// actionResult is what an action prints with --json.
type actionResult struct {
	Action  string         `json:"action"`
	Topic   string         `json:"topic"`
	Channel string         `json:"channel,omitempty"`
	Results []daemonResult `json:"results"` // nsqlookupds first
	Errors  []nodeError    `json:"errors"`
}

// The results of an action on a daemon.
const (
	resultDone   = "done"
	resultAbsent = "absent" // the daemon does not have the topic or channel
	resultFailed = "failed"
)

type daemonResult struct {
	Daemon string `json:"daemon"` // nsqd or nsqlookupd
	Addr   string `json:"addr"`
	Result string `json:"result"`
}

// table returns the result as text for people. past is what was done.
func (r *actionResult) table(past string) []byte {
	if len(r.Results) == 0 {
		return nil
	}
	var rows [][]string
	for _, d := range r.Results {
		text := d.Result
		if text == resultDone {
			text = past
		}
		rows = append(rows, []string{d.Daemon, d.Addr, text})
	}
	var out bytes.Buffer
	align(&out, 3, rows)
	return out.Bytes()
}

// requests is a transport that notes which daemons an action has asked, and their status.
type requests struct {
	http.RoundTripper
	mu   sync.Mutex // guards sent until the action has ended
	sent []request
}

type request struct {
	addr   string // as the flags and nsqlookupds name it
	status int    // 0 without a response
}

// RoundTrip sends a request. Those that only read are not noted.
func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if req.Method != http.MethodPost {
		return resp, err
	}
	note := request{}
	note.addr, _ = httpAddr(req.URL.Scheme + "://" + req.URL.Host + path.Dir(path.Dir(req.URL.Path))) // two names follow the address
	if err == nil {
		note.status = resp.StatusCode
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, note)
	return resp, err
}

// results returns the result of an action on each daemon that was asked. err is why it has
// failed on some: that a daemon does not have the topic or channel is not among it.
func (r *requests) results(lookupds []string, err error) []daemonResult {
	failed := make(map[string]bool)
	for _, e := range nodeErrors(err) {
		failed[e.Addr] = true
	}
	results := []daemonResult{}
	for _, s := range r.sent {
		d := daemonResult{Daemon: "nsqd", Addr: s.addr, Result: resultFailed}
		if slices.Contains(lookupds, s.addr) {
			d.Daemon = "nsqlookupd"
		}
		switch {
		case s.status == http.StatusOK:
			d.Result = resultDone
		case s.status == http.StatusNotFound && !failed[s.addr]:
			d.Result = resultAbsent
		}
		results = append(results, d)
	}
	slices.SortFunc(results, func(a, b daemonResult) int {
		return cmp.Or(-cmp.Compare(a.Daemon, b.Daemon), cmp.Compare(a.Addr, b.Addr))
	})
	return results
}
