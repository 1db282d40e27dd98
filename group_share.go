package nsq

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/rdyhq/nsq/internal/sharing"
)

// sampleWait is how long the sharer waits for the samples of all Consumers. A run loop that
// takes longer, because Config.Logger blocks it, must not hold up the others.
const sampleWait = 50 * time.Millisecond

// slotSharer connects the sharing.Machine of a Group to its Consumers: it samples them, and
// sets their max_in_flight.
type slotSharer struct {
	wake chan struct{} // holds a token if Consumers came or went

	mu        sync.Mutex // guards what follows
	machine   *sharing.Machine
	consumers map[sharing.ID]*Consumer
	lastID    sharing.ID
}

func newSlotSharer(slots int) *slotSharer {
	return &slotSharer{
		wake:      make(chan struct{}, 1),
		machine:   sharing.New(slots),
		consumers: make(map[sharing.ID]*Consumer),
	}
}

// add makes a Consumer take part. Its max_in_flight is 0 until the sharer sets it.
func (s *slotSharer) add(c *Consumer, is sharing.Member) sharing.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	s.consumers[s.lastID] = c
	s.machine.Add(time.Now(), s.lastID, is)
	s.signal()
	return s.lastID
}

// drain takes the slots of a Consumer that is stopping. ID 0 stands for one that does not take
// part.
func (s *slotSharer) drain(id sharing.ID) {
	if id == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Drain(id)
	s.signal()
}

// remove forgets a Consumer that has stopped. ID 0 stands for one that does not take part.
func (s *slotSharer) remove(id sharing.ID) {
	if id == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.consumers, id)
	s.machine.Remove(id)
	s.signal()
}

// signal wakes run. It never blocks.
func (s *slotSharer) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run shares until ctx ends. It sleeps while no Consumer takes part.
func (s *slotSharer) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour) // set below
	defer timer.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		consumers := maps.Clone(s.consumers)
		s.mu.Unlock()
		timer.Stop()
		if len(consumers) > 0 {
			wait := time.Until(s.share(consumers, sampleSlots(consumers)))
			if wait <= 0 {
				continue // for the reason given in runLoop.run
			}
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// share gives the samples to the machine, carries out its decisions, and returns when to do
// that again. consumers is scratch after that.
func (s *slotSharer) share(consumers map[sharing.ID]*Consumer, samples map[sharing.ID]sharing.Sample) time.Time {
	s.mu.Lock()
	for id, sample := range samples {
		s.machine.Sample(id, sample)
	}
	now := time.Now()
	s.machine.Tick(now)
	decisions := s.machine.Take(now, nil)
	next := s.machine.Next()
	maps.Copy(consumers, s.consumers) // one that was added since run looked may have got slots
	s.mu.Unlock()
	for _, d := range decisions {
		consumers[d.ID].ChangeMaxInFlight(d.MaxInFlight)
	}
	return next
}

// sampleSlots returns what Consumers do with their slots. Those that do not reply in time are
// missing.
func sampleSlots(consumers map[sharing.ID]*Consumer) map[sharing.ID]sharing.Sample {
	type reply struct {
		id sharing.ID
		sharing.Sample
	}
	replies := make(chan reply, len(consumers)) // room for all: run loops must not block
	asked := 0
	for id, c := range consumers {
		if c.slotUse(func(use sharing.Sample) { replies <- reply{id, use} }) {
			asked++
		}
	}
	samples := make(map[sharing.ID]sharing.Sample, asked)
	late := time.NewTimer(sampleWait)
	defer late.Stop()
	for len(samples) < asked {
		select {
		case r := <-replies:
			samples[r.id] = r.Sample
		case <-late.C:
			return samples
		}
	}
	return samples
}
