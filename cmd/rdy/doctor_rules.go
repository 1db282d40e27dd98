package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// doctorRules find faults. A fault that has a rule of its own is not told as a problem of the
// judge.
var doctorRules = []struct {
	name string
	find func(*doctorFacts) []doctorFinding
}{
	{"problem", doctorProblems},
	{"stuck", doctorStuck},
	{"no-nsqd", doctorNoNSQD},
	{"health", doctorHealth},
	{"broadcast", doctorBroadcast},
	{"clock", doctorClocks},
	{"max-rdy-count", doctorMaxRDY},
	{"disk", doctorDisk},
	{"deferred", doctorDeferred},
	{"no-channel", doctorNoChannel},
	{"paused", doctorPaused},
	{"old-client", doctorOldClients},
}

const (
	doctorClockOff  = 2 * time.Second // a clock may be off
	doctorPausedFor = time.Hour       // a pause may take
)

// findings returns what all rules find, the worst first.
func (f *doctorFacts) findings() []doctorFinding {
	all := []doctorFinding{}
	for _, rule := range doctorRules {
		for _, found := range rule.find(f) {
			found.Rule = cmp.Or(found.Rule, rule.name)
			all = append(all, found)
		}
	}
	slices.SortStableFunc(all, func(a, b doctorFinding) int { return cmp.Compare(a.Level, b.Level) })
	return all
}

func doctorNode(addr string) judge.Subject { return judge.Subject{Kind: judge.OfNSQD, Addr: addr} }

func doctorOf(topic, channel string) judge.Subject {
	return judge.Subject{Kind: judge.OfChannel, Topic: topic, Channel: channel}
}

// eachChannel calls do for all channels of the last poll.
func (f *doctorFacts) eachChannel(do func(topic string, c *admin.Channel)) {
	for i := range f.view.Topics {
		t := &f.view.Topics[i]
		for k := range t.Channels {
			do(t.Name, &t.Channels[k])
		}
	}
}

// before returns a channel of the first poll, nil if it was not there.
func (f *doctorFacts) before(topic, channel string) *admin.Channel {
	t := f.first.Topic(topic)
	if t == nil {
		return nil
	}
	return t.Channel(channel)
}

// doctorProblems returns what the judge finds while it watches.
func doctorProblems(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	for _, p := range f.report.Problems {
		told := p.Level.NeedsYou() || p.State == judge.Mixed || p.State == judge.Tombstoned
		if !told || !p.Ended.IsZero() {
			continue
		}
		if n := f.nsqds[p.Addr]; p.State == judge.Missing && n != nil && n.noHost != nil {
			continue // it is missing because of its address
		}
		if p.State == judge.Stuck && slices.ContainsFunc(doctorStuck(f), func(s doctorFinding) bool { return s.Subject == p.Subject }) {
			continue
		}
		found = append(found, doctorFinding{Rule: string(p.State), Level: p.Level, Subject: p.Subject, Text: p.Text, Why: p.Advice, Command: p.Command})
	}
	return found
}

// doctorStuck finds channels whose clients hold all that they accept, and finish nothing as long
// as they were watched.
func doctorStuck(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	f.eachChannel(func(topic string, c *admin.Channel) {
		before := f.before(topic, c.Name)
		if before == nil || !doctorHeld(before) || !doctorHeld(c) || c.Paused {
			return
		}
		for i := range c.Clients {
			now := &c.Clients[i]
			was := slices.IndexFunc(before.Clients, func(b admin.Client) bool {
				return b.NSQD == now.NSQD && b.RemoteAddr == now.RemoteAddr && b.Connected.Equal(now.Connected)
			})
			if was < 0 || now.Finished+now.Requeued != before.Clients[was].Finished+before.Clients[was].Requeued {
				return
			}
		}
		found = append(found, doctorFinding{
			Level: judge.Critical, Subject: doctorOf(topic, c.Name),
			Text: fmt.Sprintf("clients hold %s, all that they accept, and finished nothing for %s", figures.Count(c.InFlight), figures.Duration(f.watched)),
			Why: fmt.Sprintf("%s wait behind them. The handlers are blocked, or take longer than that for a message: see their logs and what they depend on. "+
				"If the clients restart, nsqd delivers the %s again.", figures.Count(c.Depth), figures.Things(int(c.InFlight), "message")),
			Command: []string{"channel", "describe", topic, c.Name},
		})
	})
	return found
}

// doctorHeld reports whether messages wait while clients hold all that they accept.
func doctorHeld(c *admin.Channel) bool {
	var rdy, held int64
	for i := range c.Clients {
		rdy, held = rdy+c.Clients[i].RDY, held+c.Clients[i].InFlight
	}
	return c.Depth > 0 && rdy > 0 && held >= rdy
}

// doctorNoNSQD finds that there is no nsqd, if nsqlookupds respond and none is named.
func doctorNoNSQD(f *doctorFacts) []doctorFinding {
	responds := func(l admin.Lookupd) bool { return l.Error == "" }
	if len(f.view.NSQDs) > 0 || !slices.ContainsFunc(f.view.Lookupds, responds) {
		return nil
	}
	return []doctorFinding{{
		Level: judge.Critical, Subject: judge.Subject{Kind: judge.OfCluster}, Text: "the nsqlookupds list no nsqd",
		Why:     "Consumers find no nsqd. Check that nsqds run, that each has a --lookupd-tcp-address for each nsqlookupd, and that they can reach them all.",
		Command: []string{"node", "list"},
	}}
}

// doctorHealth finds nsqds that say that they are not well.
func doctorHealth(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	for i := range f.view.NSQDs {
		if n := &f.view.NSQDs[i]; n.Error == "" && n.Health != "OK" {
			found = append(found, doctorFinding{
				Level: judge.Critical, Subject: doctorNode(n.Addr), Text: "its health is " + n.Health,
				Why:     "This nsqd could not write to its disk. It refuses or loses messages that do not fit into memory. Check that the disk is not full, and that nsqd may write to its data directory.",
				Command: []string{"node", "list"},
			})
		}
	}
	return found
}

// doctorBroadcast finds broadcast addresses at which consumers do not find their nsqd.
func doctorBroadcast(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	for _, addr := range slices.Sorted(maps.Keys(f.nsqds)) {
		n := f.nsqds[addr]
		var text string
		switch {
		case n.noHost != nil:
			text = fmt.Sprintf("its broadcast address %s does not resolve", n.broadcast)
		case f.elsewhere() && !f.isOwnName(n) && slices.ContainsFunc(n.resolved, net.IP.IsLoopback):
			text = fmt.Sprintf("its broadcast address %s is loopback", n.broadcast)
		case n.noDial != nil:
			text = fmt.Sprintf("its broadcast address cannot be reached: %v", n.noDial)
		default:
			continue
		}
		found = append(found, doctorFinding{
			Level: judge.Critical, Subject: doctorNode(addr), Text: text,
			Why: "nsqlookupd gives consumers this address. Those on other machines cannot connect, and the nsqd's messages wait. This is what this machine sees: " +
				"another may know the address. Start the nsqd with a --broadcast-address that consumers can reach.",
			Command: []string{"node", "list"},
		})
	}
	return found
}

// isOwnName reports whether an nsqd broadcasts the name of this machine, on which it runs. Debian
// makes that name loopback on the machine itself, and what it is on others cannot be seen from here.
func (f *doctorFacts) isOwnName(n *doctorNSQD) bool {
	isName := net.ParseIP(strings.Trim(n.broadcast, "[]")) == nil && n.broadcast != "localhost"
	return isName && f.hostname != "" && n.hostname == f.hostname
}

// elsewhere reports whether a daemon is on another machine than this one: it is known by an
// address that is neither loopback nor one of this machine.
func (f *doctorFacts) elsewhere() bool {
	for _, l := range f.view.Lookupds {
		for _, r := range l.Registered {
			if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
				if ip := net.ParseIP(host); ip != nil && !f.isHere(ip) {
					return true
				}
			}
		}
	}
	for _, n := range f.nsqds {
		if len(n.resolved) > 0 && !slices.ContainsFunc(n.resolved, f.isHere) {
			return true
		}
	}
	return false
}

// isHere reports whether an address is of this machine.
func (f *doctorFacts) isHere(ip net.IP) bool {
	return ip.IsLoopback() || slices.ContainsFunc(f.own, ip.Equal)
}

// doctorClocks finds nsqds whose clock is off.
func doctorClocks(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	for _, addr := range slices.Sorted(maps.Keys(f.nsqds)) {
		n := f.nsqds[addr]
		if !n.clock || n.ahead.Abs() <= doctorClockOff {
			continue
		}
		side := "ahead of"
		if n.ahead < 0 {
			side = "behind"
		}
		found = append(found, doctorFinding{
			Level: judge.Warning, Subject: doctorNode(addr), Text: fmt.Sprintf("its clock is %s %s this machine's", figures.Duration(n.ahead.Abs()), side),
			Why: "nsqd's clock stamps the messages: ages and latencies that consumers measure are off by as much, and may be negative. " +
				"Check that NTP runs on both machines.",
			Command: []string{"node", "list"},
		})
	}
	return found
}

// doctorMaxRDY finds clients that would take more than nsqd's --max-rdy-count.
func doctorMaxRDY(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	f.eachChannel(func(topic string, c *admin.Channel) {
		for i := range c.Clients {
			x := &c.Clients[i]
			n := f.nsqds[x.NSQD]
			if n == nil || n.maxRDY == 0 || x.RDY < n.maxRDY || !judge.Full(x.InFlight, x.RDY) || !doctorWaits(c) {
				continue
			}
			found = append(found, doctorFinding{
				Level: judge.Notice, Subject: doctorOf(topic, c.Name),
				Text: fmt.Sprintf("a client has RDY %s on %s, which is its --max-rdy-count, and uses it", figures.Count(x.RDY), x.NSQD),
				Why: fmt.Sprintf("%s messages wait. nsqd accepts no higher RDY, so a higher max_in_flight has no effect there. "+
					"Start nsqd with a higher --max-rdy-count, or start more clients.", figures.Count(c.Depth)),
				Command: []string{"node", "config", "max_rdy_count"},
			})
			return
		}
	})
	return found
}

// doctorWaits reports whether more messages wait than in any channel at work.
func doctorWaits(c *admin.Channel) bool { return c.Depth > 10 }

// doctorDisk finds channels whose messages stay on disk although memory is free.
func doctorDisk(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	f.eachChannel(func(topic string, c *admin.Channel) {
		before := f.before(topic, c.Name)
		if before == nil || c.Paused || c.ClientCount == 0 {
			return
		}
		for i := range c.NSQDs {
			on := &c.NSQDs[i]
			was := slices.IndexFunc(before.NSQDs, func(b admin.ChannelOn) bool { return b.NSQD == on.NSQD })
			n := f.nsqds[on.NSQD]
			if n == nil || was < 0 || on.DiskDepth == 0 || on.DiskDepth < before.NSQDs[was].DiskDepth || before.NSQDs[was].DiskDepth == 0 {
				continue
			}
			if inMemory := on.Depth - on.DiskDepth; n.memQueueSize < 1 || inMemory > n.memQueueSize/2 {
				continue
			}
			found = append(found, doctorFinding{
				Level: judge.Notice, Subject: doctorOf(topic, c.Name),
				Text: fmt.Sprintf("%s wait on the disk of %s, and memory has room for more", figures.Count(on.DiskDepth), on.NSQD),
				Why: "They were written when memory was full, or before a restart, and their number does not fall. nsqd takes from memory and disk in turn: " +
					"while as many come in as finish, the old ones wait. More consumers would drain them.",
				Command: []string{"channel", "describe", topic, c.Name},
			})
		}
	})
	return found
}

// doctorDeferred finds nsqds that hold more deferred messages than others in memory.
func doctorDeferred(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	f.eachChannel(func(topic string, c *admin.Channel) {
		for i := range c.NSQDs {
			on := &c.NSQDs[i]
			n := f.nsqds[on.NSQD]
			if n == nil || n.memQueueSize < 1 || on.Deferred <= n.memQueueSize {
				continue
			}
			found = append(found, doctorFinding{
				Level: judge.Warning, Subject: doctorOf(topic, c.Name),
				Text: fmt.Sprintf("%s messages are deferred on %s, more than its --mem-queue-size of %s", figures.Count(on.Deferred), on.NSQD, figures.Count(n.memQueueSize)),
				Why: "nsqd holds all deferred messages in memory, however many, and forgets their delays when it restarts. " +
					"Find out why clients requeue so many, or which producers publish with a delay.",
				Command: []string{"channel", "describe", topic, c.Name},
			})
		}
	})
	return found
}

// doctorNoChannel finds topics without a channel in which messages gather.
func doctorNoChannel(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	for i := range f.view.Topics {
		t := &f.view.Topics[i]
		before := f.first.Topic(t.Name)
		if len(t.Channels) > 0 || before == nil || t.Depth <= before.Depth {
			continue
		}
		found = append(found, doctorFinding{
			Level: judge.Warning, Subject: judge.Subject{Kind: judge.OfTopic, Topic: t.Name},
			Text: fmt.Sprintf("no channel, %s wait, %s of them came in %s", figures.Count(t.Depth), figures.Count(t.Depth-before.Depth), figures.Duration(f.watched)),
			Why: "Nobody consumes this topic. Its messages wait for the first channel, in memory and then on disk until that is full. " +
				"Start a consumer, or stop publishing and delete the topic.",
			Command: []string{"topic", "describe", t.Name},
		})
	}
	return found
}

// doctorPaused finds what is paused for long. nsqd does not tell since when: it is the time in
// which as much comes as waits.
func doctorPaused(f *doctorFacts) []doctorFinding {
	var found []doctorFinding
	add := func(s judge.Subject, depth, disk int64, in float64, command ...string) {
		var since time.Duration
		if in > 0 {
			since = time.Duration(float64(depth) / in * float64(time.Second))
		}
		text := fmt.Sprintf("paused, and %s wait", figures.Count(depth))
		switch {
		case depth == 0, since < doctorPausedFor && disk == 0:
			return
		case since >= doctorPausedFor:
			text += fmt.Sprintf(", as many as come in %s", figures.Duration(since))
		case disk > 0:
			text += fmt.Sprintf(", %s of them on disk", figures.Count(disk))
		}
		found = append(found, doctorFinding{
			Level: judge.Notice, Subject: s, Text: text,
			Why:     "Somebody paused it, perhaps long ago. Waiting messages fill memory and then the disk. Unpause it when the reason is gone.",
			Command: command,
		})
	}
	for i := range f.report.Topics {
		if t := &f.report.Topics[i]; t.Paused {
			add(judge.Subject{Kind: judge.OfTopic, Topic: t.Name}, t.Depth, t.DiskDepth, t.Published, "topic", "unpause", t.Name)
		}
	}
	for i := range f.report.Channels {
		if c := &f.report.Channels[i]; c.Paused && c.Rates != nil {
			add(doctorOf(c.Topic, c.Name), c.Depth, c.DiskDepth, c.Rates.In, "channel", "unpause", c.Topic, c.Name)
		}
	}
	return found
}

// doctorOldClients finds clients with a go-nsq that is older than 1.0.7.
func doctorOldClients(f *doctorFacts) []doctorFinding {
	old := make(map[string]map[string]bool) // hosts by user agent
	note := func(c *admin.Connection) {
		if !doctorIsOld(c.UserAgent) {
			return
		}
		if old[c.UserAgent] == nil {
			old[c.UserAgent] = make(map[string]bool)
		}
		old[c.UserAgent][cmp.Or(c.Hostname, c.ID, c.RemoteAddr)] = true
	}
	f.eachChannel(func(_ string, c *admin.Channel) {
		for i := range c.Clients {
			note(&c.Clients[i].Connection)
		}
	})
	for i := range f.view.NSQDs {
		for k := range f.view.NSQDs[i].Publishers {
			note(&f.view.NSQDs[i].Publishers[k].Connection)
		}
	}
	var found []doctorFinding
	for _, agent := range slices.Sorted(maps.Keys(old)) {
		hosts := slices.Sorted(maps.Keys(old[agent]))
		found = append(found, doctorFinding{
			Level: judge.Notice, Subject: judge.Subject{Kind: judge.OfCluster},
			Text: fmt.Sprintf("%s on %s", agent, figures.List(hosts)),
			Why:  "go-nsq before 1.0.7 dates from before August 2017, and lacks later fixes to how it reconnects and shares RDY among nsqds. Build these programs with a newer client.",
		})
	}
	return found
}

// doctorIsOld reports whether a user agent is a go-nsq that is older than 1.0.7.
func doctorIsOld(agent string) bool {
	version, ok := strings.CutPrefix(agent, "go-nsq/")
	if !ok {
		return false
	}
	version, _, _ = strings.Cut(version, "-") // of a pre-release
	parts := strings.Split(version, ".")
	limit := []int{1, 0, 7}
	for i, want := range limit {
		if i >= len(parts) {
			return false // no version that go-nsq ever had
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false
		}
		if n != want {
			return n < want
		}
	}
	return false
}
