package top

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/admin"
)

// fakeChannel is what the nsqd of a test says of a channel.
type fakeChannel struct {
	Name     string       `json:"channel_name"`
	Depth    int          `json:"depth"`
	Messages int          `json:"message_count"`
	Count    int          `json:"client_count"`
	Clients  []fakeClient `json:"clients,omitempty"`
}

type fakeClient struct {
	ID       string `json:"client_id"`
	Hostname string `json:"hostname"`
	RDY      int    `json:"ready_count"`
}

// fakeCluster is a cluster of one nsqd that responds from memory.
type fakeCluster struct {
	mu       sync.Mutex
	topics   map[string][]*fakeChannel
	hangs    bool
	refuses  bool
	requests []string
	busy     int // requests to /stats of all channels under way
	most     int // the highest busy has been
}

func (f *fakeCluster) cluster() *admin.Cluster {
	return &admin.Cluster{NSQDs: []string{"nsqd-1:4151"}, Client: &http.Client{Transport: f, Timeout: 10 * time.Second}}
}

// set changes the cluster.
func (f *fakeCluster) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// RoundTrip responds as nsqd does.
func (f *fakeCluster) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.URL.Path+"?"+r.URL.RawQuery)
	f.busy++
	f.most = max(f.most, f.busy)
	defer func() { f.busy-- }()
	switch {
	case f.hangs:
		f.mu.Unlock()
		<-r.Context().Done()
		f.mu.Lock()
		return nil, context.Cause(r.Context())
	case f.refuses:
		return nil, errors.New("connection refused")
	case r.URL.Path == "/info":
		return said(r, map[string]any{"hostname": "nsqd-1", "broadcast_address": "nsqd-1", "tcp_port": 4150, "http_port": 4151, "start_time": 1}), nil
	}
	topics := []any{}
	for name, channels := range f.topics {
		if only := r.URL.Query().Get("topic"); only == "" || only == name {
			topics = append(topics, map[string]any{"topic_name": name, "channels": channels, "message_count": 1})
		}
	}
	return said(r, map[string]any{"version": "1.3.0", "health": "OK", "start_time": 1, "topics": topics}), nil
}

func said(r *http.Request, v any) *http.Response {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader(string(text)))}
}

// player runs a Model as its program does.
type player struct {
	*Model
	msgs    chan tea.Msg
	running sync.WaitGroup
	quit    bool
}

// play begins to run a Model of a cluster. It is for a test in virtual time.
func play(t *testing.T, f *fakeCluster, o Options) *player {
	o.Cluster, o.Interval = f.cluster(), 2*time.Second
	p := &player{Model: newModel(t.Context(), o), msgs: make(chan tea.Msg, 1000)}
	t.Cleanup(func() {
		p.work.close()
		p.running.Wait()
	})
	p.update(tea.WindowSizeMsg{Width: 80, Height: 24})
	p.start(p.Init())
	return p
}

func (p *player) start(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	p.running.Go(func() {
		switch msg := cmd().(type) {
		case nil:
		case tea.BatchMsg:
			for _, one := range msg {
				p.start(one)
			}
		default:
			p.msgs <- msg
		}
	})
}

func (p *player) update(msg tea.Msg) {
	if _, ok := msg.(tea.QuitMsg); ok {
		p.quit = true
	}
	_, cmd := p.Update(msg)
	p.start(cmd)
}

// wait handles messages for a time.
func (p *player) wait(d time.Duration) {
	end := time.After(d)
	for {
		select {
		case msg := <-p.msgs:
			p.update(msg)
		case <-end:
			return
		}
	}
}

// press presses keys, with a little time after each.
func (p *player) press(keys ...string) {
	for _, key := range keys {
		p.update(keyOf(key))
		p.wait(10 * time.Millisecond)
	}
}

// expect checks that a screen contains texts.
func expect(t *testing.T, m *Model, texts ...string) {
	t.Helper()
	got := m.text()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("the screen lacks %q:\n%s", text, got)
		}
	}
}
