package top

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

func TestPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeCluster{topics: map[string][]*fakeChannel{"orders": {{Name: "billing", Depth: 30}}}}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		time.AfterFunc(60*time.Second, func() { f.set(func() { f.topics["orders"][0].Depth = 0 }) })
		time.AfterFunc(90*time.Second, func() { f.set(func() { f.refuses = true }) })
		time.AfterFunc(95*time.Second, func() { f.set(func() { f.refuses = false }) })
		var lines, warned []string
		err := Plain(ctx, Options{Name: "prod-eu", Cluster: f.cluster(), Interval: 2 * time.Second}, time.Minute, func(e Event) error {
			_, text, _ := strings.Cut(e.String(), " ")
			lines = append(lines, e.Event+" "+text)
			return nil
		}, func(failing string) { warned = append(warned, failing) })
		want := []string{
			"summary prod-eu: judging. Waiting 30. In 0/s. Finished 0/s. nsqd 1 of 1.",
			"began orphan: orders/billing: no clients, 30 wait.",
			"summary prod-eu: 1 channel needs you. Waiting 0. In 0/s. Finished 0/s. nsqd 1 of 1.",
		}
		if err != nil || len(lines) < len(want) || !slices.Equal(lines[:len(want)], want) || !strings.HasPrefix(lines[len(want)], "ended ended: orphan: orders/billing, after ") {
			t.Errorf("error %v, lines %q", err, lines)
		}
		if len(warned) != 2 || !strings.Contains(warned[0], "connection refused") || warned[1] != "" {
			t.Errorf("warned %q", warned)
		}
	})
}

func TestPlainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Cluster: (&fakeCluster{}).cluster(), Interval: time.Second}
		broken := errors.New("disk full")
		for _, tc := range []struct{ fails, want error }{{syscall.EPIPE, nil}, {broken, broken}} {
			if err := Plain(t.Context(), o, time.Minute, func(Event) error { return tc.fails }, func(string) {}); !errors.Is(err, tc.want) {
				t.Errorf("%v: got %v", tc.fails, err)
			}
		}
	})
}

func TestEvents(t *testing.T) {
	r, _ := scene()
	p := r.Problems[0]
	p.Ended = p.Since.Add(8 * time.Minute)
	c := judge.Cluster{ChannelsNeedYou: 2, DaemonsNeedYou: 1, Waiting: 5, Lower: true, NSQDs: 5, KnownNSQDs: 6, Lookupds: 1, KnownLookupds: 2}
	for _, tc := range []struct {
		event Event
		want  string
	}{
		{Event{At: now, Event: Summary, Name: "prod-eu", Figures: &r.Cluster}, "14:03:11 prod-eu: 4 channels need you. Waiting 1.32 M. In 4,920/s. Finished 4,071/s. nsqd 6 of 6."},
		{Event{At: now, Event: Summary, Name: "x", Figures: &c}, "14:03:11 x: 2 channels and 1 daemon need you. Waiting ≥ 5. In ≥ 0/s. Finished ≥ 0/s. nsqd 5 of 6. nsqlookupd 1 of 2."},
		{Event{At: now, Event: Summary, Name: "x", Figures: &judge.Cluster{NSQDs: 1, KnownNSQDs: 1}}, "14:03:11 x: all channels keep up. Waiting 0. In 0/s. Finished 0/s. nsqd 1 of 1."},
		{Event{At: now, Event: Summary, Name: "x", Figures: &judge.Cluster{Lower: true, KnownNSQDs: 1}}, "14:03:11 x: no nsqd responds. Waiting ≥ 0. In ≥ 0/s. Finished ≥ 0/s. nsqd 0 of 1."},
		{Event{At: now.Add(10 * time.Second), Event: Began, Problem: &r.Problems[0]}, "14:03:21 stuck: payments/fraud-check: nothing finished for 5 min 40 s, 8,412 wait."},
		{Event{At: now.Add(8*time.Minute + 10*time.Second), Event: Ended, Problem: &p}, "14:11:21 ended: stuck: payments/fraud-check, after 8 min."},
	} {
		if got := tc.event.String(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
		if _, err := json.Marshal(tc.event); err != nil {
			t.Error(err)
		}
	}
}
