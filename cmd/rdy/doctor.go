package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
	"github.com/spf13/cobra"
)

const (
	doctorPolls = 11 // a problem begins after five polls that show it, and not each does
	// doctorFewPolls are enough if each takes long, because a daemon hangs: the first one knows
	// no rates.
	doctorFewPolls = 6

	doctorDefault = 10 * time.Second
	doctorMin     = 500 * time.Millisecond
	doctorMax     = time.Hour
	// doctorPatience is how long nothing may be finished before clients are suspected, unless
	// the user says for how long to watch.
	doctorPatience = time.Minute
	doctorWidth    = 88 // columns of the text
)

// doctor finds what is wrong with a cluster.
type doctor struct {
	*app
	cluster clusterFlags
	watch   time.Duration
	patient bool // watch longer if something looks stuck
}

// doctorReport is what "rdy doctor --json" prints.
type doctorReport struct {
	At       time.Time       `json:"at"`
	Seconds  float64         `json:"seconds"` // for which the cluster was watched
	Findings []doctorFinding `json:"findings"`
	Error    string          `json:"error,omitempty"` // why the cluster was not examined
}

// doctorFinding is a fault.
type doctorFinding struct {
	Rule  string      `json:"rule"`
	Level judge.Level `json:"level"`
	judge.Subject
	Text    string   `json:"text"`    // what is wrong
	Why     string   `json:"why"`     // why it matters, and what to do
	Command []string `json:"command"` // that helps, with the flags that name the cluster
}

func newDoctor(a *app) *cobra.Command {
	d := &doctor{app: a, watch: doctorDefault}
	cmd := &cobra.Command{
		Use:   "doctor (--lookupd address | --nsqd-http address)",
		Short: "Find what is wrong with a cluster, and say what helps",
		Long: `Watch a cluster for some seconds and print what is wrong, the worst first: the problem, why
it matters, and a command that helps. For a healthy cluster it prints nothing.

  daemons    one does not respond; an nsqd cannot write to its disk; nsqlookupds list
             none, or different ones; versions differ; a clock is off; a topic is
             tombstoned on an nsqd that has it; a broadcast address does not resolve,
             is loopback, or cannot be reached from here
  channels   no message finishes while some wait; no clients; a client accepts no
             messages; many messages are requeued or time out; too many messages are
             deferred; one nsqd has many more messages than the others; messages stay on
             disk; a channel has been paused for long
  topics     messages wait in a topic without a channel
  clients    go-nsq older than 1.0.7; clients take all that max-rdy-count allows

Without --for it watches for ten seconds, or for a minute if a channel looks stuck. Each
poll reads the clients of all channels. It changes nothing: it only opens and closes
connections to the TCP ports of nsqds.

The JSON has the time "at", "seconds" that the cluster was watched, and "findings", each
with "rule", "level" (critical, warning or notice), "kind", "topic" and "channel", or
"addr", "text", "why" and "command". If it is stopped before the end, it has an "error".

` + clusterHelp + "\n\n" + outputHelp + `

Exit codes: 0 if it found nothing, 1 if it found a problem or could not examine the
cluster.`,
		Example: `  rdy doctor --lookupd 127.0.0.1:4161
  rdy doctor --lookupd 127.0.0.1:4161 --for 5m
  rdy doctor --lookupd 127.0.0.1:4161 --jq '.findings[] | select(.level == "critical") | .text'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := d.cluster.target(cmd)
			if err != nil {
				return err
			}
			defer t.close()
			if closedAtStart(d.stdout) {
				return errClosedAtStart
			}
			d.patient = !cmd.Flags().Changed("for")
			return d.run(cmd.Context(), t)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	d.cluster.addPolling(f)
	f.Var(durationFlag(&d.watch, doctorMin, doctorMax), "for", "how long to watch")
	d.outputFlags(f)
	return cmd
}

// run examines the cluster and prints the findings.
func (d *doctor) run(ctx context.Context, t *target) error {
	facts := d.watchCluster(ctx, t)
	if ctx.Err() == nil {
		facts.probe(ctx, t, d.cluster.timeout)
	}
	r := &doctorReport{At: facts.view.At.UTC(), Seconds: facts.watched.Seconds(), Findings: []doctorFinding{}}
	if ctx.Err() != nil { // what was not asked would look sound
		err := fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
		r.Error = err.Error()
		return errors.Join(d.print(r, func() []byte { return nil }), err)
	}
	r.Findings = facts.findings()
	for i := range r.Findings {
		if f := &r.Findings[i]; len(f.Command) > 0 {
			f.Command = figures.Command(f.Command, doctorFlags(&d.cluster)...)
		}
	}
	err := d.print(r, func() []byte { return r.text() })
	if n := len(r.Findings); n > 0 {
		err = errors.Join(err, fmt.Errorf("found %s", figures.Things(n, "problem")))
	}
	return err
}

// doctorFlags returns the flags that name the cluster.
func doctorFlags(c *clusterFlags) []string {
	var flags []string
	for _, addr := range c.lookupds {
		flags = append(flags, "--lookupd", addr)
	}
	for _, addr := range c.nsqds {
		flags = append(flags, "--nsqd-http", addr)
	}
	return flags
}

// text returns the findings for people.
func (r *doctorReport) text() []byte {
	marks := map[judge.Level]string{judge.Critical: "■", judge.Warning: "▲", judge.Notice: "○", judge.ByChoice: "‖"}
	var out bytes.Buffer
	for i, f := range r.Findings {
		if i > 0 {
			out.WriteByte('\n')
		}
		subject := f.String() + ": "
		if f.Kind == judge.OfCluster {
			subject = ""
		}
		fmt.Fprintf(&out, "%s %s: %s%s\n", marks[f.Level], f.Level, subject, f.Text)
		doctorWrap(&out, f.Why)
		if len(f.Command) > 0 {
			fmt.Fprintf(&out, "  $ %s\n", strings.Join(f.Command, " "))
		}
	}
	return visible.Escape(out.Bytes(), "\n")
}

// doctorWrap writes a text in lines that are indented.
func doctorWrap(out *bytes.Buffer, text string) {
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > doctorWidth {
			out.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			out.WriteString("  ")
			column = 2
		} else {
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	out.WriteByte('\n')
}
