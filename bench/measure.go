package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// measurement holds the results of all clients in a case.
type measurement struct {
	Case    string
	Kind    string
	Clients []clientMeasurement
}

type clientMeasurement struct {
	Client string
	Runs   []Result // in the order of the rounds
}

// runner has clients run cases.
type runner struct {
	before   string // program that runs the clients of the earlier version
	progress io.Writer
}

// measureAll measures all cases: one after the other, and those of kind silence, which hardly
// use the machine, together at the end. If some fail, it returns the others.
func (r runner) measureAll(ctx context.Context, specs []spec) (all []measurement, err error) {
	silent := slices.IndexFunc(specs, func(s spec) bool { return s.Kind == silence })
	if silent < 0 {
		silent = len(specs)
	}
	_, _ = fmt.Fprintf(r.progress, "%d cases, about %v\n", len(specs), estimate(specs).Round(time.Second))
	start := time.Now()
	for i, s := range specs[:silent] {
		if ctx.Err() != nil { // interrupted: keep what is measured
			return all, errors.Join(err, ctx.Err())
		}
		_, _ = fmt.Fprintf(r.progress, "%3d/%d %4.0fs  %s ", i+1, len(specs), time.Since(start).Seconds(), s.Name())
		done, failure := r.measure(ctx, s)
		_, _ = fmt.Fprintln(r.progress)
		if failure != nil { // the other cases are still worth measuring
			err = errors.Join(err, failure)
			continue
		}
		all = append(all, done)
	}
	together, failure := r.measureTogether(ctx, specs[silent:])
	return append(all, together...), errors.Join(err, failure)
}

// measure has the clients run a case in turn, several times. Every other round is in reverse
// order, so that no client always follows the same one.
func (r runner) measure(ctx context.Context, s spec) (measurement, error) {
	m := s.unmeasured()
	for round := range s.mostRuns() {
		for i := range s.clients {
			if round%2 == 1 {
				i = len(s.clients) - 1 - i
			}
			if round >= s.runs[s.clients[i]] {
				continue
			}
			result, err := r.runOnce(ctx, s.clients[i], s.Case)
			if err != nil {
				return m, err
			}
			m.Clients[i].Runs = append(m.Clients[i].Runs, result)
		}
		_, _ = fmt.Fprint(r.progress, ".")
	}
	return m, nil
}

// measureTogether has all clients run all cases at the same time. They hardly use the machine,
// and one after the other they would take an hour.
func (r runner) measureTogether(ctx context.Context, specs []spec) (all []measurement, err error) {
	if len(specs) == 0 {
		return nil, nil
	}
	_, _ = fmt.Fprintf(r.progress, "%d cases of silence at the same time\n", len(specs))
	failures := make(chan error)
	for _, s := range specs {
		m := s.unmeasured()
		all = append(all, m)
		for i, name := range s.clients {
			go func() {
				for range s.runs[name] {
					result, err := r.runOnce(ctx, name, s.Case)
					if err != nil {
						failures <- err
						return
					}
					m.Clients[i].Runs = append(m.Clients[i].Runs, result)
				}
				failures <- nil
			}()
		}
	}
	for _, s := range specs {
		for range s.clients {
			err = errors.Join(err, <-failures)
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool {
		return slices.ContainsFunc(m.Clients, func(c clientMeasurement) bool { return len(c.Runs) == 0 })
	}), err
}

// unmeasured returns the measurement of s without any runs.
func (s spec) unmeasured() measurement {
	m := measurement{Case: s.Name(), Kind: s.Kind}
	for _, name := range s.clients {
		m.Clients = append(m.Clients, clientMeasurement{Client: name})
	}
	return m
}

// mostRuns returns the number of rounds.
func (s spec) mostRuns() (most int) {
	for _, runs := range s.runs {
		most = max(most, runs)
	}
	return most
}

// estimate returns about how long the cases take, on two slow cores.
func estimate(specs []spec) (total time.Duration) {
	var together time.Duration
	for _, s := range specs {
		if s.Kind == silence {
			together = max(together, time.Duration(s.mostRuns())*s.estimate())
			continue
		}
		for _, runs := range s.runs {
			total += time.Duration(runs) * s.estimate()
		}
		if s.Conns == 1000 { // go-nsq takes that much longer to connect
			total += time.Duration(s.runs[goNSQ]) * 6500 * time.Millisecond
		}
	}
	return total + together
}

// estimate returns about how long a run takes.
func (s spec) estimate() time.Duration {
	const starting = 80 * time.Millisecond // two processes
	switch {
	case s.Kind == silence:
		return settling + s.Window + time.Second
	case s.Kind == idle:
		return starting + (3+idleBeats)*heartbeat
	case s.Kind == connect && s.RTT > 0:
		return 2500 * time.Millisecond // go-nsq takes 4.3 s, this client 0.1 s
	case s.Kind == connect:
		return starting
	case s.Kind == memory:
		return starting + 1600*time.Millisecond // 600 messages, 4 at a time, of 10 ms
	case s.Messages > 0 && s.InFlight == 1:
		return starting + 2*time.Second
	case s.Messages > 0: // filled with 150,000 a second, drained with 400,000, or by go-nsq with 100,000
		return starting + time.Duration(s.Messages)*10*time.Microsecond
	}
	return starting + warmUp + s.Window
}
