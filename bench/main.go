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
		return runRole(ctx, os.Args[1], os.Args[2:])
	}
	return bench(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// options are the command line's.
type options struct {
	quick  bool
	idle   bool
	json   bool
	list   bool
	runs   int
	only   *regexp.Regexp
	client *regexp.Regexp
	window time.Duration

	profile string // directory for CPU profiles
	report  string // file that --json has written
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.quick, "quick", false, "run a small part of the matrix, in less than a minute, and compare it with the committed ratios")
	flags.BoolVar(&o.idle, "idle", false, "measure consumers that no message reaches, in about six minutes, instead of the matrix")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of Markdown")
	flags.BoolVar(&o.list, "list", false, "print the names of the cases and exit")
	flags.IntVar(&o.runs, "runs", 0, "how often each client runs each case (default 3, with -quick 2, with -idle 1)")
	flags.DurationVar(&o.window, "window", 0, "how long to measure each run (default 400ms, with -quick 300ms, with -idle 1m)")
	only := flags.String("only", "", "run only cases whose name matches this `regexp`")
	client := flags.String("client", "", "run only clients whose name matches this `regexp`")
	flags.StringVar(&o.profile, "profile", "", "write a CPU profile of each client and case to this `directory`")
	flags.StringVar(&o.report, "report", "", "measure nothing, and print this `file`, written by -json, as Markdown")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	runs, window := 3, 400*time.Millisecond
	switch {
	case o.idle:
		runs, window = 1, time.Minute
	case o.quick:
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

// selectSpecs returns the part of the matrix that the options ask for.
func (o options) selectSpecs() (specs []spec) {
	cases := matrix
	if o.idle {
		cases = silentMatrix
	}
	for _, s := range cases(o.window) {
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
		return printReport(o.report, stdout)
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
	start := time.Now()
	var measurements []measurement
	var failures []error
	if o.idle {
		measurements, err = measureTogether(ctx, specs, o.runs, stderr)
		failures, specs = append(failures, err), nil
	}
	for i, s := range specs {
		_, _ = fmt.Fprintf(stderr, "%3d/%d %4.0fs  %s\n", i+1, len(specs), time.Since(start).Seconds(), s.Name())
		done, err := measure(ctx, s, o.runs)
		if err != nil { // the other cases are still worth measuring
			failures = append(failures, err)
			continue
		}
		measurements = append(measurements, done)
	}
	if o.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "\t")
		if err := encoder.Encode(measurements); err != nil {
			return err
		}
	} else {
		writeMarkdown(stdout, measurements)
	}
	if o.quick {
		failures = append(failures, verdict(stderr, measurements))
	}
	return errors.Join(failures...)
}

// printReport prints the measurements in a file that -json has written.
func printReport(file string, stdout io.Writer) error {
	data, err := os.ReadFile(file) // #nosec G304 -- the user's
	if err != nil {
		return err
	}
	var measurements []measurement
	if err := json.Unmarshal(data, &measurements); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	writeMarkdown(stdout, measurements)
	return nil
}

// measurement holds the results of all clients in a case.
type measurement struct {
	Case    string
	Kind    string
	Clients []clientMeasurement
}

type clientMeasurement struct {
	Client string
	Runs   []Result
}

// measure has the clients run a case in turn, several times.
func measure(ctx context.Context, s spec, runs int) (measurement, error) {
	o := measurement{Case: s.Name(), Kind: s.Kind}
	for _, name := range s.clients {
		o.Clients = append(o.Clients, clientMeasurement{Client: name})
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
