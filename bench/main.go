// Command bench measures this client beside the real go-nsq and beside what is
// left of a client when everything is taken away that can be. Every client and
// every server is a process of its own. The runs are interleaved, so that what
// else the machine does hits all alike; only ratios mean something elsewhere.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && (os.Args[1] == serverRole || os.Args[1] == clientRole) {
		return role(ctx, os.Args[1], os.Args[2:])
	}
	return bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// options are what a user asks for.
type options struct {
	quick  bool
	json   bool
	list   bool
	runs   int
	only   *regexp.Regexp
	client *regexp.Regexp
	window time.Duration

	profile string // a directory
	report  string // a file that --json has written
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.quick, "quick", false, "a small part of the matrix in less than a minute, with a verdict against the committed ratios")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of Markdown")
	flags.BoolVar(&o.list, "list", false, "print the names of the cases and end")
	flags.IntVar(&o.runs, "runs", 0, "how often each client does each case (default 3, quick 2)")
	flags.DurationVar(&o.window, "window", 0, "how long a run is measured (default 400ms, quick 300ms)")
	only := flags.String("only", "", "a regular expression of the names of cases to do")
	client := flags.String("client", "", "a regular expression of the names of clients")
	flags.StringVar(&o.profile, "profile", "", "a directory for a CPU profile of each client and case")
	flags.StringVar(&o.report, "report", "", "a file that --json has written: print it as Markdown, measure nothing")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	runs, window := 3, 400*time.Millisecond
	if o.quick {
		runs, window = 2, 300*time.Millisecond
	}
	if o.runs <= 0 {
		o.runs = runs
	}
	if o.window <= 0 {
		o.window = window
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	o.client, err = regexp.Compile(*client)
	return o, err
}

// chosen is what of the matrix is to be done.
func (o options) chosen() (specs []spec) {
	for _, s := range matrix(o.window) {
		s.clients = slices.DeleteFunc(slices.Clone(s.clients), func(name string) bool {
			return !o.client.MatchString(name) || o.quick && name != goNSQ && name != rdy
		})
		if len(s.clients) > 0 && o.only.MatchString(s.Name()) && (s.quick || !o.quick) {
			specs = append(specs, s)
		}
	}
	return specs
}

func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.report != "" {
		return report(o.report, stdout)
	}
	specs := o.chosen()
	if o.list {
		for _, s := range specs {
			_, _ = fmt.Fprintln(stdout, s.Name())
		}
		return nil
	}
	if o.profile != "" {
		if err := os.Setenv(profileDir, o.profile); err != nil {
			return err
		}
	}
	start := time.Now()
	var outcomes []outcome
	var failures []error
	for i, s := range specs {
		_, _ = fmt.Fprintf(stderr, "%3d/%d %4.0fs  %s\n", i+1, len(specs), time.Since(start).Seconds(), s.Name())
		done, err := measure(ctx, s, o.runs)
		if err != nil { // the others are worth something all the same
			failures = append(failures, err)
			continue
		}
		outcomes = append(outcomes, done)
	}
	if o.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "\t")
		if err := encoder.Encode(outcomes); err != nil {
			return err
		}
	} else {
		writeMarkdown(stdout, outcomes)
	}
	if o.quick {
		failures = append(failures, verdict(stderr, outcomes))
	}
	return errors.Join(failures...)
}

// report prints what an earlier run has measured.
func report(file string, stdout io.Writer) error {
	data, err := os.ReadFile(file) // #nosec G304 -- the user's
	if err != nil {
		return err
	}
	var outcomes []outcome
	if err := json.Unmarshal(data, &outcomes); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	writeMarkdown(stdout, outcomes)
	return nil
}

// outcome is what the clients did in a case.
type outcome struct {
	Case    string
	Kind    string
	Clients []clientOutcome
}

type clientOutcome struct {
	Client string
	Runs   []Result
}

// measure has all clients do a case in turn, several times.
func measure(ctx context.Context, s spec, runs int) (outcome, error) {
	o := outcome{Case: s.Name(), Kind: s.Kind}
	for _, name := range s.clients {
		o.Clients = append(o.Clients, clientOutcome{Client: name})
	}
	for range runs {
		for i := range o.Clients {
			r, err := runPair(ctx, o.Clients[i].Client, s.Case)
			if err != nil {
				return o, err
			}
			o.Clients[i].Runs = append(o.Clients[i].Runs, r)
		}
	}
	return o, nil
}
