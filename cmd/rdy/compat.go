package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// oldTool is a program of NSQ 1.3.0 that a command of rdy replaces.
type oldTool struct {
	name string
	does string // what it is now
	// declare declares its flags, with its defaults. The function that it returns is called
	// when they are parsed.
	declare func(*flag.FlagSet) func() (*oldJob, error)
}

var oldTools = []oldTool{
	{"nsq_tail", "rdy tail", oldTail},
	{"nsq_stat", "rdy stat", oldStatFlags},
	{"nsq_to_file", "rdy to-file", oldToFile},
	{"nsq_to_http", "rdy to-http", oldToHTTP},
	{"nsq_to_nsq", "rdy copy", oldNSQToNSQ},
	{"to_nsq", "rdy pub", oldToNSQ},
}

// oldJob is what the command line of an old tool asks for.
type oldJob struct {
	lines [][]string // command lines of rdy, which run at the same time
	stat  *oldStat   // instead of lines
	notes []string   // for the user, at the start
}

func newCompat(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "compat",
		Short: "Run rdy with the command line of one of NSQ's tools",
		Long: `Run rdy with the command line of one of NSQ's tools. All flags of NSQ 1.3.0 work, with one
or two dashes and with their defaults. A link to rdy, or a copy of it, that has the name of
a tool does the same:

  ln -s /usr/local/bin/rdy /usr/local/bin/nsq_to_file

Only the flags count: profiles, and the RDY_ environment variables that name clusters, have
no effect. nsq_stat prints its old table. docs/MIGRATION.md lists what differs from the old
tools.`,
		Example: `  rdy compat nsq_tail --topic orders --lookupd-http-address 127.0.0.1:4161
  rdy compat nsq_to_file -topic orders -output-dir /var/log/nsq -nsqd-tcp-address 127.0.0.1:4150`,
	})
	for _, tool := range oldTools {
		cmd.AddCommand(tool.command(a))
	}
	return cmd
}

// command returns the command that stands for an old tool.
func (o oldTool) command(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   o.name + " [FLAGS]",
		Short: "Run " + o.does + " with the command line of " + o.name,
		Long: "Run " + o.does + " with the command line of " + o.name + ".\n" +
			"-help lists its flags, -version prints the version of rdy.",
		Example:            "  rdy compat " + o.name + " -help\n  rdy compat " + o.name + " -version",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			f := flag.NewFlagSet(o.name, flag.ContinueOnError)
			f.SetOutput(io.Discard)
			version := f.Bool("version", false, "print version")
			translate := o.declare(f)
			switch err := f.Parse(args); {
			case errors.Is(err, flag.ErrHelp):
				return o.printHelp(a, f)
			case err != nil:
				return usage(cmd, "%w", err)
			case *version:
				_, err := fmt.Fprintln(a.stdout, readVersion())
				return err
			case f.NArg() > 0:
				return usage(cmd, "unexpected argument %q", f.Arg(0))
			}
			job, err := translate()
			if err != nil {
				return usage(cmd, "%w", err)
			}
			return job.run(cmd.Context(), a)
		},
	}
}

func (o oldTool) printHelp(a *app, f *flag.FlagSet) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s runs %s. Its flags, with one or two dashes:\n", o.name, o.does)
	f.SetOutput(&out)
	f.PrintDefaults()
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// run does the job. When one of several command lines ends, the others stop.
func (j *oldJob) run(ctx context.Context, a *app) error {
	for _, note := range j.notes {
		a.notice("rdy: %s", note)
	}
	if j.stat != nil {
		return j.stat.run(ctx, a)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	for _, line := range j.lines {
		go func() {
			own := *a
			own.noProfile = true
			root := newRoot(&own)
			root.SetArgs(line)
			root.SetOut(own.stdout)
			root.SetErr(own.stderr)
			ended <- root.ExecuteContext(ctx)
		}()
	}
	var errs []error
	for range j.lines {
		errs = append(errs, <-ended)
		cancel()
	}
	return errors.Join(errs...)
}

// oldName returns the name of the old tool that a program's path stands for, "" if it is
// none.
func oldName(program string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(program)), ".exe")
	if slices.ContainsFunc(oldTools, func(o oldTool) bool { return o.name == name }) {
		return name
	}
	return ""
}

// oldList is a flag that may be repeated. It drops duplicates.
type oldList []string

func (l *oldList) String() string { return "" }

func (l *oldList) Set(s string) error {
	if !slices.Contains(*l, s) {
		*l = append(*l, s)
	}
	return nil
}

// oldSource are the flags that all tools have that read messages.
type oldSource struct {
	nsqds, lookupds, options oldList
	channel                  *string
	maxInFlight              *int
}

func (s *oldSource) declare(f *flag.FlagSet, channel string) {
	f.Var(&s.nsqds, "nsqd-tcp-address", "TCP `address` of an nsqd (may be given multiple times)")
	f.Var(&s.lookupds, "lookupd-http-address", "HTTP `address` of an nsqlookupd (may be given multiple times)")
	f.Var(&s.options, "consumer-opt", "`option,value` of the consumer (may be given multiple times)")
	s.channel = f.String("channel", channel, "channel to read from")
	s.maxInFlight = f.Int("max-in-flight", 200, "maximum messages in flight")
}

// line returns the flags of rdy for a source.
func (s *oldSource) line() (line []string, err error) {
	if len(s.nsqds)+len(s.lookupds) == 0 {
		return nil, errors.New("--nsqd-tcp-address or --lookupd-http-address is required")
	}
	if line, err = appendAddrs(line, "--nsqd", "nsqd-tcp-address", s.nsqds); err != nil {
		return nil, err
	}
	if line, err = appendAddrs(line, "--lookupd", "lookupd-http-address", s.lookupds); err != nil {
		return nil, err
	}
	if *s.channel != "" {
		line = append(line, "--channel", *s.channel)
	}
	line = append(line, "--max-in-flight", fmt.Sprint(*s.maxInFlight))
	return appendOptions(line, "--set", "consumer-opt", s.options)
}

// appendAddrs appends a flag for each address. Like the old tools it takes ":4150" for a port
// of this machine.
func appendAddrs(line []string, flag, old string, addrs []string) ([]string, error) {
	for _, addr := range addrs {
		if strings.HasPrefix(addr, ":") {
			addr = "127.0.0.1" + addr
		}
		if _, ok := httpAddr(addr); !ok || flag != "--lookupd" && !isHostPort(addr) {
			return nil, fmt.Errorf("--%s: want host:port, such as 127.0.0.1:4150", old)
		}
		line = append(line, flag, addr)
	}
	return line, nil
}

// appendOptions appends a flag for each option of the client library. Its errors do not show
// values.
func appendOptions(line []string, flag, old string, options []string) ([]string, error) {
	for _, option := range options {
		if err := new(settings).Set(option); err != nil {
			return nil, fmt.Errorf("--%s: %w", old, err)
		}
		line = append(line, flag, option)
	}
	return line, nil
}
