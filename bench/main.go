// Command bench measures this client beside the real go-nsq and beside the floor:
// clients that do only what the protocol demands. Every client and every
// server is a process of its own. The clients take turns, so that other load on
// the machine hits all of them alike. Only ratios carry over to other machines.
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
	"strings"
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
	if len(os.Args) > 1 && slices.Contains([]string{serverRole, proxyRole, clientRole}, os.Args[1]) {
		return runRole(ctx, os.Args[1], os.Args[2:])
	}
	return bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// options are the command line's.
type options struct {
	quick  bool
	aims   bool
	json   bool
	list   bool
	runs   int
	only   *regexp.Regexp
	client *regexp.Regexp
	window time.Duration

	before  string // program that measures an earlier version of this client
	profile string // directory for CPU profiles
	report  string // file that --json has written
	docs    string // directory of the documents to bring up to date
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.quick, "quick", false, "run a small part of the matrix, in less than a minute, and compare it with the committed ratios")
	flags.BoolVar(&o.aims, "aims", false, "run only the cases and clients that an aim names, and say which aims are reached")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of Markdown")
	flags.BoolVar(&o.list, "list", false, "print the names of the cases and exit")
	flags.IntVar(&o.runs, "runs", 0, "how often each client runs each case (default 3; 6 where an aim needs an interval; with -quick 2)")
	flags.DurationVar(&o.window, "window", 0, "how long to measure each run (default 400ms; longer for latencies and at a distance; with -quick 300ms)")
	only := flags.String("only", "", "run only cases whose name matches this `regexp`")
	client := flags.String("client", "", "run only clients whose name matches this `regexp`")
	flags.StringVar(&o.before, "before", "", "also run this `program`, bench built with an earlier version of this client, in turn with the present one")
	flags.StringVar(&o.profile, "profile", "", "write a CPU profile of each client and case to this `directory`")
	flags.StringVar(&o.report, "report", "", "measure nothing, and print this `file`, written by -json")
	flags.StringVar(&o.docs, "docs", "", "put what is measured into benchmarks.json of this `directory`, and bring its BENCHMARKS.md and benchmarks.svg up to date; with -only '^$' only the latter")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.quick && o.aims:
		return o, errors.New("-quick and -aims exclude each other")
	case o.before != "" && o.profile != "":
		return o, errors.New("-before and -profile exclude each other")
	case o.docs != "" && o.report != "":
		return o, errors.New("-docs and -report exclude each other")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, err
	}
	o.client, err = regexp.Compile(*client)
	return o, err
}

// selectSpecs returns the part of the matrix that the options ask for.
func (o options) selectSpecs() (specs []spec) {
	for _, s := range matrix() {
		aimed := aimedAt(s.Name())
		s.clients = o.withBefore(slices.DeleteFunc(slices.Clone(s.clients), func(name string) bool {
			return !o.client.MatchString(name) || o.quick && name != goNSQ && name != rdy || o.aims && !slices.Contains(aimed, name)
		}))
		s.Window, s.runs = o.windowOf(s.Case), map[string]int{}
		for _, name := range s.clients {
			s.runs[name] = o.runsOf(s.Kind, slices.Contains(aimed, name))
		}
		if len(s.clients) > 0 && o.only.MatchString(s.Name()) && (s.quick || !o.quick) {
			specs = append(specs, s)
		}
	}
	return specs
}

// before is the end of the name of a client whose version is the earlier one.
const before = " before"

// withBefore adds the earlier version of each client of this project.
func (o options) withBefore(clients []string) (all []string) {
	for _, name := range clients {
		all = append(all, name)
		if o.before != "" && strings.HasPrefix(name, rdy) {
			all = append(all, name+before)
		}
	}
	return all
}

// windowOf returns how long a run of a case is measured.
func (o options) windowOf(c Case) time.Duration {
	switch {
	case o.window > 0:
		return o.window
	case o.quick:
		return 300 * time.Millisecond
	case c.Kind == silence:
		return time.Minute
	case c.Kind == latency:
		return 1400 * time.Millisecond
	case c.RTT > 0:
		return time.Second
	}
	return 400 * time.Millisecond
}

// runsOf returns how often a client runs a case. aimed tells whether an aim needs its figures.
func (o options) runsOf(kind string, aimed bool) int {
	switch {
	case o.runs > 0:
		return o.runs
	case o.quick:
		return 2
	case kind == silence:
		return 1
	case aimed:
		return enoughRuns
	}
	return 3
}

func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if o.report != "" {
		measurements, err := readMeasurements(o.report)
		if err != nil {
			return err
		}
		return o.print(stdout, measurements)
	}
	specs := o.selectSpecs()
	if o.list {
		for _, s := range specs {
			_, _ = fmt.Fprintln(stdout, s.Name())
		}
		return nil
	}
	if o.profile != "" {
		if err := os.Setenv(profileEnv, o.profile); err != nil {
			return err
		}
	}
	measurements, failure := runner{o.before, stderr}.measureAll(ctx, specs)
	failures := []error{failure}
	if o.docs != "" {
		failures = append(failures, updateDocs(o.docs, measurements))
	} else {
		failures = append(failures, o.print(stdout, measurements))
	}
	if o.quick {
		failures = append(failures, verdict(stderr, measurements))
	}
	return errors.Join(failures...)
}

// print prints measurements in the form that the options ask for.
func (o options) print(w io.Writer, measurements []measurement) error {
	switch {
	case o.json:
		return json.NewEncoder(w).Encode(measurements)
	case o.aims:
		writeAims(w, measurements)
	default:
		writeMarkdown(w, measurements)
	}
	return nil
}

// readMeasurements reads a file that -json has written.
func readMeasurements(file string) (measurements []measurement, err error) {
	data, err := os.ReadFile(file) // #nosec G304 -- the user's
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &measurements); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return measurements, nil
}
