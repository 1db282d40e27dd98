package judge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// node is what is remembered of an nsqd.
type node struct {
	admin.NSQD // as it was when it responded last
	tracks     tracks
	up         bool      // it responded to the last poll
	fresh      bool      // it responded to the last poll, and not as the same process to the one before
	listed     bool      // the last View has it
	seen       time.Time // when it responded last, zero if it never did
	known      time.Time // when the last View had it
	messages   int64     // that it held when it responded last
	restarted  time.Time // when it was seen to have restarted, zero if it was not
}

// lookupd is what is remembered of an nsqlookupd.
type lookupd struct {
	tracks tracks
	seen   time.Time // when it responded last, zero if it never did
	nsqds  int       // that were registered then
}

// addDaemons notes which daemons respond.
func (j *Judge) addDaemons(view *admin.View) {
	for i := range view.Lookupds {
		l := &view.Lookupds[i]
		memory := j.lookupds[l.Addr]
		if memory == nil {
			memory = new(lookupd)
			j.lookupds[l.Addr] = memory
		}
		if l.Error == "" {
			memory.seen, memory.nsqds = view.At, len(l.Registered)
		}
	}
	for _, n := range j.nodes {
		n.listed = false
	}
	for i := range view.NSQDs {
		j.addNode(&view.NSQDs[i], view.At)
	}
	for _, n := range j.nodes {
		if !n.listed {
			n.up, n.fresh = false, false
		}
	}
	j.addHoldings(view)
	cut := cutOff(view)
	for addr, n := range j.nodes {
		// An nsqd that has never responded and is no longer listed does not exist: an nsqd may
		// have had a wrong broadcast address, for instance.
		imagined := n.seen.IsZero() && !cut && view.At.Sub(n.known) >= believe
		if !n.listed && (imagined || view.At.Sub(n.known) >= remember || j.replaced(n)) {
			j.drop(&n.tracks)
			delete(j.nodes, addr)
		}
	}
	j.blind = j.unheard()
}

// addNode notes an nsqd of a View.
func (j *Judge) addNode(n *admin.NSQD, at time.Time) {
	memory := j.nodes[n.Addr]
	if memory == nil {
		memory = new(node)
		j.nodes[n.Addr] = memory
	}
	was := memory.up
	memory.listed, memory.up, memory.known = true, n.Error == "", at
	if !memory.up {
		memory.fresh = false
		memory.Addr, memory.Error, memory.Lookupds = n.Addr, n.Error, n.Lookupds
		return
	}
	same := !memory.seen.IsZero() && memory.Started.Equal(n.Started)
	if !same && !memory.seen.IsZero() {
		memory.restarted = at
	}
	memory.fresh, memory.seen, memory.NSQD, memory.messages = !was || !same, at, *n, 0
}

// addHoldings counts the messages on the nsqds that respond.
func (j *Judge) addHoldings(view *admin.View) {
	add := func(addr string, messages int64) {
		if n := j.nodes[addr]; n != nil {
			n.messages += messages
		}
	}
	for i := range view.Topics {
		t := &view.Topics[i]
		for k := range t.NSQDs {
			add(t.NSQDs[k].NSQD, t.NSQDs[k].Depth)
		}
		for k := range t.Channels {
			for m := range t.Channels[k].NSQDs {
				on := &t.Channels[k].NSQDs[m]
				add(on.NSQD, on.Backlog())
			}
		}
	}
}

// replaced reports whether an nsqd that is gone runs on at another address: the new one has the
// same host name and port, and has started since.
func (j *Judge) replaced(gone *node) bool {
	for _, n := range j.nodes {
		if n.up && n.Hostname != "" && n.Hostname == gone.Hostname && n.TCPPort == gone.TCPPort && n.Started.After(gone.Started) {
			return true
		}
	}
	return false
}

// lacks reports whether an nsqd is missing that has a topic or channel, or may have it.
func (j *Judge) lacks(p *placement) bool {
	return j.blind || p.lacksAny(j.nodes)
}

// unheard reports whether a daemon is known that has never responded.
func (j *Judge) unheard() bool {
	for _, l := range j.lookupds {
		if l.seen.IsZero() {
			return true
		}
	}
	for _, n := range j.nodes {
		if n.seen.IsZero() {
			return true
		}
	}
	return false
}

// lacksNodes reports whether an nsqd is missing.
func (j *Judge) lacksNodes() bool {
	for _, n := range j.nodes {
		if !n.up {
			return true
		}
	}
	return false
}

// judgeDaemons judges the daemons of a View.
func (j *Judge) judgeDaemons(view *admin.View) {
	cut := cutOff(view)
	for _, addr := range slices.Sorted(maps.Keys(j.nodes)) {
		n := j.nodes[addr]
		subject := Subject{Kind: OfNSQD, Addr: addr}
		j.see(&n.tracks, subject, Missing, enough, n.missing(view.At, cut))
		j.see(&n.tracks, subject, Restarted, 1, n.hasRestarted(view.At))
		j.see(&n.tracks, subject, Tombstoned, enough, tombstoned(n, view))
		n.tracks.tidy(view.At)
		row := NSQD{NSQD: n.NSQD, Up: n.up, Seen: n.seen, Messages: n.messages}
		j.problemOf(n.tracks, &row.State, &row.Level, nil)
		j.report.NSQDs = append(j.report.NSQDs, row)
		if n.up {
			j.report.Cluster.NSQDs++
		}
	}
	j.report.Cluster.KnownNSQDs = len(j.nodes)
	for i := range view.Lookupds {
		j.judgeLookupd(&view.Lookupds[i], view)
	}
	cluster := Subject{Kind: OfCluster}
	j.see(&j.cluster, cluster, Disagree, enough, disagree(view))
	j.see(&j.cluster, cluster, Mixed, enough, mixed(view))
	j.cluster.tidy(view.At)
	for _, t := range j.cluster { // each is a problem of its own
		var row Channel
		j.problemOf(tracks{t}, &row.State, &row.Level, nil)
	}
}

// cutOff reports whether an nsqlookupd does not respond: it may list nsqds that no other does.
func cutOff(view *admin.View) bool {
	return slices.ContainsFunc(view.Lookupds, func(l admin.Lookupd) bool { return l.Error != "" })
}

// missing judges whether an nsqd responds. cut means that an nsqlookupd does not: it may list
// the nsqd.
func (n *node) missing(at time.Time, cut bool) finding {
	switch {
	case n.up:
		return finding{verdict: good}
	case !n.listed && cut:
		return finding{}
	}
	f := finding{verdict: bad, level: Critical, since: n.seen, command: []string{"node", "list"}}
	why, after := "no response", ""
	if !n.listed {
		why = "gone from nsqlookupd"
	} else if reason := shortReason(n.Error); reason != "" {
		after = " (" + reason + ")"
	}
	if !n.seen.IsZero() {
		after = " for " + figures.Duration(at.Sub(n.seen)) + after
	}
	f.text = why + after
	if n.messages > 0 {
		f.text += fmt.Sprintf(", %s last seen there", figures.Count(n.messages))
	}
	f.advice = fmt.Sprintf("Figures marked ≥ do not include the nsqd %s.", n.Addr)
	if n.messages > 0 {
		f.advice += fmt.Sprintf(" Its %s messages are delivered when it is back, those in memory only if it was shut down cleanly.", figures.Count(n.messages))
	}
	f.advice += " Check that its process runs, and that its HTTP address is reachable from here."
	if !n.listed {
		f.advice += " If it was removed on purpose, this problem ends an hour after the nsqd was last seen."
	}
	return f
}

// shortReason returns the last part of an error: what the system said.
func shortReason(text string) string {
	if strings.Contains(text, context.DeadlineExceeded.Error()) {
		return "timeout"
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+len(": "):]
	}
	return text
}

func (n *node) hasRestarted(at time.Time) finding {
	if n.restarted.IsZero() || at.Sub(n.restarted) >= factFor || !n.up {
		return finding{verdict: good}
	}
	return finding{
		verdict: bad, level: Notice, since: n.restarted,
		text:    "restarted " + figures.Duration(at.Sub(n.Started)) + " ago",
		advice:  fmt.Sprintf("The nsqd %s started at %s, and its counters at 0. If nobody restarted it, see its log.", n.Addr, n.Started.UTC().Format(time.DateTime+" MST")),
		command: []string{"node", "list"},
	}
}

// tombstoned judges whether an nsqd is hidden from consumers for a topic that it has.
func tombstoned(n *node, view *admin.View) finding {
	if !n.up {
		return finding{}
	}
	var topics []string
	for i := range view.Lookupds {
		for k := range view.Lookupds[i].Registered {
			r := &view.Lookupds[i].Registered[k]
			if len(r.Tombstoned) == 0 || r.HTTPAddr() != n.Addr {
				continue
			}
			for _, name := range r.Tombstoned {
				t := view.Topic(name)
				if t != nil && slices.ContainsFunc(t.NSQDs, func(on admin.TopicOn) bool { return on.NSQD == n.Addr }) && !slices.Contains(topics, name) {
					topics = append(topics, name)
				}
			}
		}
	}
	if len(topics) == 0 {
		return finding{verdict: good}
	}
	return finding{
		verdict: bad, level: Notice,
		text: "tombstoned for " + some(topics) + ", which it has",
		advice: fmt.Sprintf("nsqlookupd hides the nsqd %s from consumers of %s, for 45 s by default. "+
			"Meanwhile messages wait there. To remove a topic for good, delete it on the nsqd as well.", n.Addr, some(topics)),
		command: []string{"topic", "describe", topics[0]},
	}
}

// some returns names with commas between them: of many the first ones.
func some(names []string) string {
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

func (j *Judge) judgeLookupd(l *admin.Lookupd, view *admin.View) {
	memory := j.lookupds[l.Addr]
	f := finding{verdict: good}
	if l.Error != "" {
		f = finding{verdict: bad, level: Critical, since: memory.seen, command: []string{"node", "list"}}
		f.text = "no response"
		if !memory.seen.IsZero() {
			f.text += " for " + figures.Duration(view.At.Sub(memory.seen))
		}
		f.text += " (" + shortReason(l.Error) + ")"
		f.advice = "No nsqlookupd responds: new consumers find no nsqd, and running ones find no new nsqd."
		if slices.ContainsFunc(view.Lookupds, func(l admin.Lookupd) bool { return l.Error == "" }) {
			f.level = Warning
			f.advice = fmt.Sprintf("Consumers that ask only the nsqlookupd %s find no nsqd.", l.Addr)
		}
		f.advice += " Check that its process runs, and that its HTTP address is reachable from here."
	}
	j.see(&memory.tracks, Subject{Kind: OfLookupd, Addr: l.Addr}, Missing, enough, f)
	memory.tracks.tidy(view.At)
	var state State
	var level Level
	j.problemOf(memory.tracks, &state, &level, nil)
	j.report.Lookupds = append(j.report.Lookupds, Lookupd{Addr: l.Addr, Up: l.Error == "", Seen: memory.seen, Error: l.Error, NSQDs: memory.nsqds})
	j.report.Cluster.KnownLookupds++
	if l.Error == "" {
		j.report.Cluster.Lookupds++
	}
}

// disagree judges whether the nsqlookupds that respond list the same nsqds with the same topics.
func disagree(view *admin.View) finding {
	listed := make(map[string]int)
	topics := make(map[string][]string)
	var differ []string
	lookupds, silent := 0, false
	for i := range view.Lookupds {
		if view.Lookupds[i].Error != "" {
			silent = true
			continue
		}
		lookupds++
		for addr, its := range topicsListed(&view.Lookupds[i]) {
			if listed[addr]++; listed[addr] == 1 {
				topics[addr] = its
			} else if !slices.Equal(topics[addr], its) && !slices.Contains(differ, addr) {
				differ = append(differ, addr)
			}
		}
	}
	var partly []string
	for _, addr := range slices.Sorted(maps.Keys(listed)) {
		if listed[addr] < lookupds {
			partly = append(partly, addr)
		}
	}
	if len(partly) == 0 && len(differ) == 0 {
		if silent {
			return finding{} // it may know others
		}
		return finding{verdict: good}
	}
	f := finding{verdict: bad, level: Warning, command: []string{"node", "list"}}
	if len(partly) > 0 {
		f.text = fmt.Sprintf("nsqlookupds disagree: %s known to only some of them", some(partly))
		f.advice = fmt.Sprintf("Of %s that respond, not all list %s. Consumers that ask only the others do not find it. "+
			"Check that each nsqd has a --lookupd-tcp-address for each nsqlookupd, and can reach them all.",
			figures.Things(lookupds, "nsqlookupd"), some(partly))
		return f
	}
	slices.Sort(differ)
	f.text = "nsqlookupds disagree on the topics of " + some(differ)
	f.advice = fmt.Sprintf("The nsqlookupds list different topics for %s. Consumers that ask only one without a topic do not find the nsqd. "+
		"To register the topics again, restart the nsqd.", some(differ))
	return f
}

// topicsListed returns the topics of each nsqd that an nsqlookupd lists, by address. An nsqd that
// has lost its connection and registered again is listed twice for some minutes.
func topicsListed(l *admin.Lookupd) map[string][]string {
	topics := make(map[string][]string)
	for i := range l.Registered {
		r := &l.Registered[i]
		addr := r.HTTPAddr()
		if before, twice := topics[addr]; twice {
			both := slices.Concat(before, r.Topics)
			slices.Sort(both)
			topics[addr] = slices.Compact(both)
		} else {
			topics[addr] = r.Topics
		}
	}
	return topics
}

// mixed judges whether the nsqds that respond have the same version.
func mixed(view *admin.View) finding {
	versions := make(map[string]int)
	for i := range view.NSQDs {
		if n := &view.NSQDs[i]; n.Error == "" {
			versions[n.Version]++
		}
	}
	if len(versions) < 2 {
		if slices.ContainsFunc(view.NSQDs, func(n admin.NSQD) bool { return n.Error != "" }) {
			return finding{}
		}
		return finding{verdict: good}
	}
	var parts []string
	for _, v := range slices.SortedFunc(maps.Keys(versions), func(a, b string) int {
		return cmp.Or(versions[b]-versions[a], strings.Compare(a, b))
	}) {
		parts = append(parts, fmt.Sprintf("%s on %d", v, versions[v]))
	}
	return finding{
		verdict: bad, level: Notice, text: "nsqds have different versions: " + some(parts),
		advice:  "The nsqds have different versions: " + some(parts) + ". That is fine during an upgrade, but should not last.",
		command: []string{"node", "list"},
	}
}
