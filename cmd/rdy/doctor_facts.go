package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/schollz/progressbar/v3"
)

// doctorFacts is what the rules judge.
type doctorFacts struct {
	first, view *admin.View // the first and the last poll, with clients
	report      *judge.Report
	watched     time.Duration
	nsqds       map[string]*doctorNSQD // by NSQD.Addr of the last poll
	hostname    string                 // of this machine, empty if it is not known
	own         []net.IP               // the addresses of this machine
}

// doctorNSQD is what was asked of an nsqd beside its counts. What it did not tell is the zero
// value.
type doctorNSQD struct {
	hostname  string // of its machine
	broadcast string
	resolved  []net.IP
	noHost    error // why the broadcast address does not resolve
	noDial    error // why no connection to the TCP address was opened
	// ahead is by how much its clock is ahead of this machine's. clock is false if it did not
	// tell its time.
	ahead        time.Duration
	clock        bool
	memQueueSize int64 // -1 if not known
	maxRDY       int64 // 0 if not known
}

// watchCluster polls the cluster with its clients.
func (d *doctor) watchCluster(ctx context.Context, t *target) *doctorFacts {
	j := judge.New()
	facts := new(doctorFacts)
	begin := time.Now()
	interval := d.watch / (doctorPolls - 1)
	var bar *progress
	if isTerminal(d.stderr) {
		bar = newProgress(d.stderr, begin, doctorPolls, progressbar.OptionSetDescription("watching"))
		defer bar.clearBar()
	}
	for n := 1; ; n++ {
		view, _ := t.PollClients(ctx, "", "") // the View says who has not responded
		j.AddClients(view)
		facts.report, facts.view = j.Add(view), view
		if facts.first == nil {
			facts.first = view
		}
		facts.watched = view.At.Sub(facts.first.At)
		if bar != nil {
			bar.show(time.Now(), int64(n), fmt.Sprintf("poll %d", n))
		}
		watched := n >= doctorPolls || n >= doctorFewPolls && facts.watched >= d.watch
		if watched && !d.looksStuck(facts) || !waited(ctx, interval-time.Since(view.At)) {
			return facts
		}
	}
}

// looksStuck reports whether to watch on, because a consumer may only be slow.
func (d *doctor) looksStuck(facts *doctorFacts) bool {
	return d.patient && facts.watched < doctorPatience && len(doctorStuck(facts)) > 0
}

// probe asks the nsqds what their counts do not tell.
func (f *doctorFacts) probe(ctx context.Context, t *target, timeout time.Duration) {
	const atATime = 16
	f.nsqds = make(map[string]*doctorNSQD)
	f.lookAround()
	var probes sync.WaitGroup
	slots := make(chan struct{}, atATime)
	for i := range f.view.NSQDs {
		n := &f.view.NSQDs[i]
		p := &doctorNSQD{hostname: n.Hostname, broadcast: n.Broadcast, memQueueSize: -1}
		if p.broadcast == "" { // it has not responded; nsqlookupds may have told
			p.broadcast = doctorListed(f.view, n.Addr)
		}
		f.nsqds[n.Addr] = p
		probes.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			p.probe(ctx, t, n)
		})
	}
	probes.Wait()
}

// lookAround notes what this machine is called, and its addresses.
func (f *doctorFacts) lookAround() {
	f.hostname, _ = os.Hostname()
	addrs, _ := net.InterfaceAddrs()
	for _, addr := range addrs {
		if network, ok := addr.(*net.IPNet); ok {
			f.own = append(f.own, network.IP)
		}
	}
}

// doctorListed returns the broadcast address of an nsqd that nsqlookupds list at an HTTP address.
func doctorListed(v *admin.View, addr string) string {
	for i := range v.Lookupds {
		for k := range v.Lookupds[i].Registered {
			if r := &v.Lookupds[i].Registered[k]; r.HTTPAddr() == addr {
				return r.Broadcast
			}
		}
	}
	return ""
}

func (p *doctorNSQD) probe(ctx context.Context, t *target, n *admin.NSQD) {
	if p.broadcast != "" {
		p.resolve(ctx)
	}
	if n.Error != "" {
		return
	}
	if addr := n.TCPAddr(); addr != "" && p.noHost == nil {
		p.noDial = doctorDial(ctx, addr)
	}
	p.ahead, p.clock = doctorClock(ctx, t, n.Addr)
	if value, err := t.Config(ctx, n.Addr, "mem_queue_size"); err == nil {
		if size, err := strconv.ParseInt(value, 10, 64); err == nil {
			p.memQueueSize = size
		}
	}
	if value, err := t.Config(ctx, n.Addr, "max_rdy_count"); err == nil {
		p.maxRDY, _ = strconv.ParseInt(value, 10, 64)
	}
}

// doctorDial opens a connection to an nsqd, and closes it. nsqd logs an error if a client leaves
// before it names its protocol.
func doctorDial(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	_, _ = conn.Write([]byte("  V2"))
	return conn.Close()
}

func (p *doctorNSQD) resolve(ctx context.Context) {
	host := strings.Trim(p.broadcast, "[]")
	if ip := net.ParseIP(host); ip != nil {
		p.resolved = []net.IP{ip}
		return
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	p.noHost = err
	for _, a := range addrs {
		p.resolved = append(p.resolved, a.IP)
	}
}

// doctorClock returns by how much the clock of an nsqd is ahead. HTTP tells its time to the
// second, cut off.
func doctorClock(ctx context.Context, t *target, addr string) (ahead time.Duration, ok bool) {
	base := addr
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/ping", http.NoBody)
	if err != nil {
		return 0, false
	}
	before := time.Now()
	resp, err := t.Client.Do(req)
	if err != nil {
		return 0, false
	}
	after := time.Now()
	_ = resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, false
	}
	return doctorAhead(date, before, after), true
}

// doctorAhead returns by how much a clock is ahead at least, if it said date between two times.
// It is negative if the clock is behind.
func doctorAhead(date, before, after time.Time) time.Duration {
	switch latest := date.Add(time.Second); { // the clock showed a time from date to latest
	case date.After(after):
		return date.Sub(after)
	case latest.Before(before):
		return latest.Sub(before)
	}
	return 0
}
