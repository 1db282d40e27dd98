// Command tools measures rdy copy, to-file and to-http beside nsq_to_nsq, nsq_to_file and
// nsq_to_http. A tool is a process of its own. The nsqds and the HTTP server that it talks to
// are in this process, and do not count.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tools:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s stage
	flag.StringVar(&s.bin, "bin", "", "`directory` with the programs rdy, nsq_to_nsq, nsq_to_file and nsq_to_http")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "`directory` in which to-file and nsq_to_file write; a run removes its files")
	runs := flag.Int("runs", 3, "how often each tool runs, in turn with the other")
	messages := flag.Int("messages", 0, "messages of a run (default 1,000,000; 100,000 for HTTP)")
	only := flag.String("only", "", "run only the cases whose name matches this `regexp`")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	defer s.stop()
	fmt.Print(tableHead)
	for _, c := range cases {
		if !wanted.MatchString(c.name) {
			continue
		}
		if *messages > 0 {
			c.messages = *messages
		}
		theirs, ours, err := s.compare(ctx, c, *runs)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Print(c.rows(theirs, ours))
	}
	return nil
}

// compare runs both tools of a case in turn. Every other round is in reverse order.
func (s *stage) compare(ctx context.Context, c toolCase, runs int) (theirs, ours []result, err error) {
	for round := range runs {
		for i := range 2 {
			command, results := c.theirs, &theirs
			if (round+i)%2 == 1 {
				command, results = c.ours, &ours
			}
			r, err := s.measure(ctx, c, command)
			if err != nil {
				return nil, nil, err
			}
			*results = append(*results, r)
		}
	}
	return theirs, ours, nil
}
