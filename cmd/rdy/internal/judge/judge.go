// Package judge tells what is wrong with a cluster.
//
// A [Judge] is given the Views of one cluster in turn, each as old as its At says, and answers
// each with a [Report]: rates, when channels drain, and problems with a sentence, a beginning and
// a next step. It does no I/O, has no clock and starts no goroutine.
//
// # How a problem begins and ends
//
// A poll says of each state that it is so, that it is not, or that it cannot be told. A problem
// begins after five polls that say so, and ends after five that say it is not; polls that cannot
// tell are left out. So what happens once is no problem, and a figure that is missing neither
// begins a problem nor ends it. What has restarted, was emptied or is paused is a fact, and is
// told at once.
//
// A poll that lacks an nsqd can begin what is true of the nsqds that respond, such as messages
// that wait there without a client. It ends nothing, unless messages finish in a channel that was
// stuck.
//
// # Memory
//
// A channel on three nsqds takes about 5 KB. Its clients take a few hundred bytes each, for 30
// seconds after they were polled. A channel that is gone is forgotten after an hour, and an
// ephemeral one at once.
package judge

import (
	"cmp"
	"slices"
	"time"

	"github.com/rdyhq/nsq/admin"
)

const (
	window   = 5               // polls that rates are the mean of
	remember = time.Hour       // how long channels and daemons that are gone are known
	believe  = time.Minute     // how long an nsqd is known that has never responded, and is listed no more
	factFor  = 5 * time.Minute // how long it is told that something was emptied or has restarted
	growsFor = 5 * time.Minute // how long a backlog grows before that is a problem
	maxWorth = 4               // clients of how many channels are polled beside each poll
)

// Judge knows the last hour of a cluster. It must not be used concurrently.
type Judge struct {
	polls    int
	at       time.Time // of the last View
	before   *admin.View
	channels map[Name]*channel
	topics   map[string]*topic
	nodes    map[string]*node
	lookupds map[string]*lookupd
	cluster  tracks

	report *Report // that is being written
	blind  bool    // a daemon is known that has never responded
	gaps   bool    // the rates of a channel that is not new are not known
}

// New returns a Judge that has seen nothing.
func New() *Judge {
	return &Judge{
		channels: make(map[Name]*channel), topics: make(map[string]*topic),
		nodes: make(map[string]*node), lookupds: make(map[string]*lookupd),
	}
}

// Add judges a View of Poll that is later than those before. The Judge keeps it until the next
// one. A View whose time is not later than that of the one before is judged without rates.
func (j *Judge) Add(view *admin.View) *Report {
	j.polls++
	j.gaps = false
	j.report = &Report{
		At: view.At, Topics: make([]Topic, 0, len(view.Topics)), Channels: make([]Channel, 0, len(j.channels)),
		Problems: []Problem{}, Began: []Problem{}, Ended: []Problem{},
	}
	var rates *admin.Rates
	if j.before != nil && view.At.After(j.at) {
		rates = admin.Between(j.before, view)
	}
	j.addDaemons(view)
	j.addTopics(view, rates)
	j.judgeDaemons(view)
	j.forget(view.At)
	j.sum(view)
	for _, problems := range [][]Problem{j.report.Problems, j.report.Began, j.report.Ended} {
		slices.SortFunc(problems, compareProblems)
	}
	j.report.WorthClients = j.worthClients()
	j.before, j.at = view, view.At
	r := j.report
	j.report = nil
	return r
}

// see adds a finding of a subject's state to the report.
func (j *Judge) see(ts *tracks, subject Subject, state State, polls int, f finding) {
	t, change := ts.see(subject, state, polls, f, j.report.At)
	if change > 0 && (state == Emptied || state == Restarted) {
		j.report.Noted = append(j.report.Noted, t.problem())
	}
	if change == 0 || !t.last.level.NeedsYou() {
		return
	}
	if change > 0 {
		j.report.Began = append(j.report.Began, t.problem())
	} else {
		j.report.Ended = append(j.report.Ended, t.problem())
	}
}

// addTopics judges the topics and channels of a View.
func (j *Judge) addTopics(view *admin.View, rates *admin.Rates) {
	if rates == nil {
		rates = new(admin.Rates)
	}
	atTopic, atChannel := 0, 0
	for i := range view.Topics {
		t := &view.Topics[i]
		memory := j.topics[t.Name]
		if memory == nil {
			memory = new(topic)
			j.topics[t.Name] = memory
		}
		var tr *admin.TopicRates // rates are in the order of the View
		if atTopic < len(rates.Topics) && rates.Topics[atTopic].Topic == t.Name {
			tr = &rates.Topics[atTopic]
			atTopic++
		}
		memory.add(t, tr, rates.Interval, j.nodes, view.At)
		row := len(j.report.Topics)
		j.report.Topics = append(j.report.Topics, memory.row(t, j.lacks(&memory.placement)))
		for k := range t.Channels {
			c := &t.Channels[k]
			var cr *admin.ChannelRates
			if atChannel < len(rates.Channels) && rates.Channels[atChannel].Topic == t.Name && rates.Channels[atChannel].Channel == c.Name {
				cr = &rates.Channels[atChannel]
				atChannel++
			}
			j.addChannel(Name{t.Name, c.Name}, c, cr, rates.Interval, &j.report.Topics[row])
		}
	}
	j.addAbsent(view)
}

// addChannel judges a channel, and adds it to the sums of its topic.
func (j *Judge) addChannel(name Name, c *admin.Channel, rates *admin.ChannelRates, interval time.Duration, sums *Topic) {
	memory := j.channels[name]
	if memory == nil {
		memory = &channel{name: name}
		j.channels[name] = memory
	}
	o := memory.observe(c, rates, interval, j.nodes, j.at, j.report.At)
	o.lower = j.lacks(&memory.placement)
	if memory.clients != nil {
		memory.clients.judge(o.works() && o.waits())
	}
	for _, r := range channelRules {
		j.see(&memory.tracks, channelSubject(name), r.state, cmp.Or(r.polls, enough), r.judge(memory, o))
	}
	row := memory.row(c, o)
	j.gaps = j.gaps || row.Rates == nil && !memory.born.Equal(j.report.At)
	memory.clients = memory.clients.read(j.report.At)
	j.problemOf(memory.tracks, &row.State, &row.Level, &row.Since)
	j.report.Channels = append(j.report.Channels, row)
	sums.add(&row)
}

// addAbsent adds the channels that are only on nsqds that do not respond.
func (j *Judge) addAbsent(view *admin.View) {
	added := false
	for name, memory := range j.channels {
		if memory.seen.Equal(view.At) || !memory.lacksAny(j.nodes) {
			continue
		}
		row := Channel{Topic: name.Topic, Name: name.Channel, Drain: Drain{Kind: DrainUnknown}, Lower: true, History: memory.history.points(view.At)}
		j.problemOf(memory.tracks, &row.State, &row.Level, &row.Since)
		j.report.Channels, added = append(j.report.Channels, row), true
	}
	if added {
		slices.SortFunc(j.report.Channels, func(a, b Channel) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Name, b.Name))
		})
	}
}

// problemOf adds the worst problem of a subject to the report, and notes it in its row.
func (j *Judge) problemOf(ts tracks, state *State, level *Level, since *time.Time) {
	*level = Fine
	begun, ended := ts.worst(j.report.At)
	if ended != nil {
		j.report.Problems = append(j.report.Problems, *ended)
	}
	if begun == nil {
		return
	}
	j.report.Problems = append(j.report.Problems, *begun)
	*state, *level = begun.State, begun.Level
	if since != nil {
		*since = begun.Since
	}
}

// forget drops what is gone.
func (j *Judge) forget(at time.Time) {
	for name, c := range j.channels {
		c.tracks.tidy(at)
		gone := !c.seen.Equal(at) && !c.lacksAny(j.nodes)
		if gone {
			j.drop(&c.tracks)
		}
		if gone && (c.ephemeral() || at.Sub(c.seen) >= remember) {
			delete(j.channels, name)
		}
	}
	for name, t := range j.topics {
		if at.Sub(t.seen) >= remember {
			delete(j.topics, name)
		}
	}
}

// drop ends the problems of a subject that is gone.
func (j *Judge) drop(ts *tracks) {
	for _, t := range *ts {
		if t.begun && t.last.level.NeedsYou() {
			t.recovered = j.report.At
			t.end(j.report.At)
			j.report.Ended = append(j.report.Ended, t.problem())
		}
	}
	*ts = nil
}

// sum adds up the report.
func (j *Judge) sum(view *admin.View) {
	c := &j.report.Cluster
	c.RatesKnown = j.polls > 1 && !j.gaps
	c.Lower = j.lacksNodes() || view.Partial()
	for i := range j.report.Topics {
		t := &j.report.Topics[i]
		c.Published += t.Published
		c.Waiting += t.Waiting
		c.In += t.In
		c.Finished += t.Finished
		c.Clients += t.Clients
	}
	c.Growth = c.In - c.Finished
	for i := range j.report.Problems {
		switch p := &j.report.Problems[i]; {
		case !p.Ended.IsZero() || !p.Level.NeedsYou():
		case p.Kind == OfChannel:
			c.ChannelsNeedYou++
		default:
			c.DaemonsNeedYou++
		}
	}
}
