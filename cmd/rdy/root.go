package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // after a second signal; 128 + SIGINT, the shells' convention
)

// run executes a command line and returns the exit code. Results go to stdout,
// everything else to stderr. When ctx ends, the command drains and returns.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&app{stdin: stdin, stdout: stdout, stderr: stderr, level: defaultLogLevel}).run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		a.complete(root)
	}
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code, told := exitCode(err)
	if !told {
		a.notice("rdy: %s", oneLine(err))
	}
	return code
}

// usageError reports an invalid command line.
type usageError struct {
	err error
	cmd *cobra.Command
}

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), cmd: cmd}
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see %q", e.err, e.cmd.CommandPath()+" --help")
}

func (e *usageError) Unwrap() error { return e.err }

// joined returns the errors that errors.Join has made one.
func joined(err error) []error {
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	var texts []string
	for _, e := range j.Unwrap() {
		all, texts = append(all, joined(e)...), append(texts, e.Error())
	}
	if strings.Join(texts, "\n") != err.Error() { // an error that wraps several, but has a text of its own
		return []error{err}
	}
	return all
}

// oneLine returns the text of an error on one line, joined errors included.
func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

func newRoot(a *app) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "rdy",
		Short: "A command line for NSQ",
		Long: `rdy is a command line for NSQ. It contains nsqd and nsqlookupd, so you need nothing else.

  try           demo, broker
  messages      pub, tail, peek, copy, to-file, to-http, dead
  watch         stat, top, doctor, check, exporter
  change        topic, channel, node
  measure       bench
  set up        profile, completion, man; compat takes the command lines of NSQ's tools

Results go to standard output, progress and log lines to standard error. Ctrl-C, SIGTERM
and, except under nohup, a closed terminal stop a command gracefully. A second Ctrl-C stops
it at once. Only to-file does not stop on SIGHUP, as from a closed terminal: it begins new
files.

Exit codes: 0 success, 1 failure, 2 invalid command line, 130 second Ctrl-C. "rdy check" has
those of Nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.`,
		Example: `  rdy demo
  rdy broker --tcp-port 4150 --http-port 4151
  rdy pub orders orders.txt --nsqd 127.0.0.1:4150
  rdy tail orders --nsqd 127.0.0.1:4150
  rdy top --lookupd 127.0.0.1:4161
  rdy doctor --lookupd 127.0.0.1:4161
  rdy copy orders --lookupd nsqlookupd:4161 --channel mirror --to backup:4150
  rdy to-file orders --nsqd 127.0.0.1:4150 --channel archive --output-dir /var/log/nsq
  rdy dead list --lookupd 127.0.0.1:4161`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	})
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print results as JSON")
	root.PersistentFlags().Var((*levelFlag)(&a.level), "log-level", "lowest `level` to log: debug, info, warn or error")
	root.PersistentFlags().StringVar(&a.profile, "profile", "", "`name` of the profile to use; empty for none (see \"rdy profile\")")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.settle(cmd) }
	root.AddCommand(newDemo(a), newBroker(a))
	root.AddCommand(newPub(a), newTail(a), newPeek(a), newCopy(a), newToFile(a), newToHTTP(a), newDead(a))
	root.AddCommand(newStat(a), newTop(a), newUI(a), newDoctor(a), newCheck(a), newExporter(a))
	root.AddCommand(newTopic(a), newChannel(a), newNode(a))
	root.AddCommand(newBench(a), newProfile(a), newCompletion(a), newCompat(a), newMan(), newVersion(a))
	root.SetHelpCommand(newHelp())
	root.InitDefaultHelpCmd() // adds it now, so that it has --version as well
	addVersionFlag(root)
	return root
}

// group makes cmd a command that has others under it, and by itself shows its help.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = knownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// knownCommand rejects an unknown command and suggests a similar one.
func knownCommand(parent *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := parent.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf(", did you mean %q?", near[0])
	}
	return usage(parent, "unknown command %q%s", args[0], hint)
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Show the help of a command",
		Example: "  rdy help demo",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(cmd.Root(), "unknown command %q", strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag() // otherwise --help would not be listed
			return about.Help()
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "unexpected argument %q", args[0])
	}
	return nil
}
