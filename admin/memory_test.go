package admin

import (
	"slices"
	"strings"
	"testing"
)

// nsqd's memory is read only if the Cluster asks for it.
func TestPollReadsMemory(t *testing.T) {
	s := newScene(t)
	d := s.nsqd("a:4151", 1)
	c := s.cluster(nil, []string{"a:4151"})
	if v := s.poll(c); v.NSQDs[0].Memory != nil {
		t.Errorf("not asked for: %+v", v.NSQDs[0].Memory)
	}
	d.responses["/stats"] = strings.Replace(d.responses["/stats"], `"memory":null`, `"memory":{
		"heap_objects":1,"heap_idle_bytes":2,"heap_in_use_bytes":3,"heap_released_bytes":4,"next_gc_bytes":5,"gc_total_runs":6,
		"gc_pause_usec_100":7,"gc_pause_usec_99":8,"gc_pause_usec_95":9}`, 1)
	s.asked()
	c.Memory = true
	v := s.poll(c)
	if got := v.NSQDs[0].Memory; got == nil || *got != (Memory{HeapObjects: 1, HeapIdle: 2, HeapInUse: 3, HeapReleased: 4, NextGC: 5, GCs: 6}) {
		t.Errorf("got %+v", got)
	}
	if asked := s.asked(); !slices.Contains(asked, "a:4151 GET /stats?format=json&include_clients=false&include_mem=true") {
		t.Errorf("asked %q", asked)
	}
}

// A channel has a latency if nsqd measures it and has acked messages.
func TestPollReadsLatency(t *testing.T) {
	const measured = `{"count":3,"percentiles":[{"quantile":0.99,"value":1500000000},{"quantile":0.5,"value":20000000}]}`
	s := newScene(t)
	d := s.nsqd("a:4151", 1, topicStats{Name: "t", Channels: []channelStats{{Name: "c"}}})
	c := s.cluster(nil, []string{"a:4151"})
	response := d.responses["/stats"]
	const none = `{"count":0,"percentiles":null}`
	if strings.Count(response, none) != 1 {
		t.Fatalf("response %s", response)
	}
	for said, want := range map[string][]Quantile{
		measured: {{0.99, 1.5}, {0.5, 0.02}},
		none:     nil,
		"null":   nil,
		`{"count":0,"percentiles":[{"quantile":0.99,"value":0}]}`: nil,
	} {
		d.responses["/stats"] = strings.Replace(response, none, said, 1)
		if got := s.poll(c).Topic("t").Channel("c").NSQDs[0].Latency; !slices.Equal(got, want) {
			t.Errorf("%s: got %v", said, got)
		}
	}
}
