package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"
)

// survey tries mutants and reports on them.
type survey struct {
	options
	w     io.Writer
	begin time.Time
	count [undecided + 1]int
}

// progressInterval is how often a line says how far the survey is.
const progressInterval = 10 * time.Second

// pass runs the tests without a change.
func (s *survey) pass(ctx context.Context, dirs []string) error {
	done := make(chan error, 1)
	go func() { done <- pass(ctx, dirs) }()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			s.printf("%v: running the tests without a change", s.spent())
		}
	}
}

// result is what a goroutine of survey.try reports.
type result struct {
	mutant
	fate fate
	err  error
}

// try tries the mutants in this order, as many at a time as there are processors, until
// it has tried as many as wanted or ctx ends.
func (s *survey) try(ctx context.Context, mutants []mutant) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for running := 0; ; {
		for ctx.Err() == nil && len(mutants) > 0 &&
			running < min(runtime.NumCPU(), s.n-s.tried()) {
			m := mutants[0]
			mutants = mutants[1:]
			running++
			go func() {
				fate, err := m.try(ctx, s.test)
				results <- result{m, fate, err}
			}()
		}
		if running == 0 {
			break
		}
		select {
		case r := <-results:
			running--
			s.count[r.fate]++
			switch {
			case r.err != nil:
				err = r.err
				cancel()
			case r.fate == survived:
				s.printf("survived  %v", r.mutant)
			}
		case <-tick.C:
			s.printf("%v: %d of %d tried, %d survived", s.spent(), s.tried(), s.n, s.count[survived])
		}
	}
	if err == nil {
		s.score(ctx.Err() != nil)
	}
	return err
}

// tried returns how many mutants have been killed or have survived.
func (s *survey) tried() int { return s.count[killed] + s.count[survived] }

func (s *survey) score(ended bool) {
	percent := 100 * float64(s.count[killed]) / float64(max(s.tried(), 1))
	s.printf("score     %d of %d mutants killed, %.1f %%; %d more did not build; seed %d, %v",
		s.count[killed], s.tried(), percent, s.count[notBuilt], s.seed, s.spent())
	if ended {
		s.printf("time ran out before %d were tried", s.n)
	}
}

func (s *survey) spent() time.Duration { return time.Since(s.begin).Round(time.Second) }

func (s *survey) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}
