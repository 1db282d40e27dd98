package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	n     int
	seed  uint64
	limit time.Duration
	test  time.Duration
	at    *regexp.Regexp
}

func run(ctx context.Context, args []string, w io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	today, _ := strconv.ParseUint(time.Now().UTC().Format("20060102"), 10, 64)
	flags.IntVar(&o.n, "n", 50, "how many `mutants` to try; those that do not build do not count")
	flags.Uint64Var(&o.seed, "seed", today, "`number` that seeds the draw of mutants; the default is today's date")
	flags.DurationVar(&o.limit, "for", time.Hour, "try mutants for this `time`")
	flags.DurationVar(&o.test, "timeout", 2*time.Minute, "count a mutant as killed if its tests run longer than this `time`")
	flags.Func("at", "draw only from mutants whose file:line this `regexp` matches", func(s string) (err error) {
		o.at, err = regexp.Compile(s)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name the directories of one or more packages")
	}
	all, err := draw(flags.Args(), o)
	if err != nil {
		return err
	}
	s := &survey{options: o, w: w, begin: time.Now()}
	if err := s.pass(ctx, flags.Args()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	return s.try(ctx, all)
}

// draw returns the mutants of the packages in these directories, in the order in which
// to try them.
func draw(dirs []string, o options) ([]mutant, error) {
	var all []mutant
	for _, dir := range dirs {
		found, err := inPackage(dir)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if o.at == nil || o.at.MatchString(m.place()) {
				all = append(all, m)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no mutant matches %v", o.at)
	}
	rand.New(rand.NewPCG(o.seed, 0)).Shuffle(len(all), func(i, j int) {
		all[i], all[j] = all[j], all[i]
	})
	return all, nil
}
