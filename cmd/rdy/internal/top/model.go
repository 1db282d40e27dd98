package top

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	// settled is how long no key must be pressed until rows are sorted again by themselves.
	settled = 30 * time.Second
	// ratesFor is how long rates are shown after the last poll that succeeded.
	ratesFor = 30 * time.Second
	// noticeFor is how long a notice stays.
	noticeFor = 10 * time.Second
	// recentReports is how many reports the rates of single nsqds are taken from. Package judge
	// takes rates from as many, and a verdict needs one less.
	recentReports = 6
)

// screen is what fills the terminal.
type screen int

const (
	ofChannels screen = iota
	ofTopics
	ofChannel
)

// Model is the state of the screen. Only the goroutine of its program touches it.
type Model struct {
	options Options
	work    *work
	judge   *judge.Judge // is used by one poll at a time, outside of that goroutine

	now           time.Time // of the message that was handled last
	width, height int

	report  *judge.Report   // on the screen; nil before the first response
	recent  []*judge.Report // the last ones of which an nsqd responded, newest last
	failing string          // why daemons did not respond to the last poll
	polling bool            // a poll is under way
	turn    int             // of the poll that is waited for
	held    time.Time       // when the user held the screen; zero if it is live

	screen   screen
	channels list
	topics   list
	topic    string  // channels of this topic are listed; empty: all
	opened   subject // the channel of ofChannel
	line     int     // of ofChannel: the selected client

	filter  string
	typing  bool // of the filter
	dialog  dialog
	notice  string // in place of the count of rows
	noticed time.Time
	key     time.Time // of the last key

	acting  int  // actions under way
	leaving bool // q was pressed during an action
}

func newModel(ctx context.Context, o Options) *Model {
	return &Model{
		options: o, work: newWork(ctx), judge: judge.New(), now: time.Now(), key: time.Now(),
		channels: list{sort: byState}, topics: list{sort: byState},
	}
}

// ticked is the message of each second.
type ticked struct{}

// Init begins the polls and the clock.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.poll(), m.work.after(time.Second, ticked{}))
}

// Update takes a message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	m.now = time.Now()
	cmd := m.handle(msg)
	m.settle()
	return m, cmd
}

func (m *Model) handle(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.channels.needs, m.topics.needs = nil, nil
	case tea.KeyPressMsg:
		return m.press(msg)
	case tea.PasteMsg:
		m.paste(msg.Content)
	case ticked:
		return m.work.after(time.Second, ticked{})
	case polled:
		m.see(msg)
		return m.pollLater(msg.began)
	case next:
		if msg.turn == m.turn {
			return m.pollNow()
		}
	case acted:
		m.acting--
		m.tell(msg)
		if msg.err != nil {
			m.leaving = false // the user must see it
		}
		if m.leaving && m.acting == 0 {
			return tea.Quit
		}
		return m.pollNow()
	}
	return nil
}

// see takes the result of a poll.
func (m *Model) see(p polled) {
	if p.canceled {
		return
	}
	m.failing = p.failing
	if last := len(m.recent) - 1; last >= 0 && p.report.Cluster.NSQDs == 0 && p.failing != "" && len(m.recent[last].Topics) > 0 {
		m.recent[last] = lastKnown(m.recent[last], p.report)
	} else {
		m.recent = append(m.recent, p.report)
		m.recent = m.recent[max(len(m.recent)-recentReports, 0):]
	}
	if m.held.IsZero() {
		m.show()
	}
}

// lastKnown returns the figures of the last report, which become stale, and what a report without
// any figures says of the daemons.
func lastKnown(last, none *judge.Report) *judge.Report {
	r := *last
	r.Problems, r.NSQDs, r.Lookupds = none.Problems, none.NSQDs, none.Lookupds
	to, from := &r.Cluster, &none.Cluster
	to.NSQDs, to.KnownNSQDs, to.Lookupds, to.KnownLookupds = from.NSQDs, from.KnownNSQDs, from.Lookupds, from.KnownLookupds
	to.ChannelsNeedYou, to.DaemonsNeedYou = from.ChannelsNeedYou, from.DaemonsNeedYou
	return &r
}

// show puts the newest report on the screen.
func (m *Model) show() {
	if len(m.recent) == 0 {
		return
	}
	m.report = m.recent[len(m.recent)-1]
	if len(m.channels.order) == 0 || m.dialog == nil && m.now.Sub(m.key) >= settled {
		m.arrange()
	}
}

// arrange sorts the rows of both lists.
func (m *Model) arrange() {
	if m.report != nil {
		m.channels.arrange(sortedChannels(m.report, m.channels.sort), m.now)
		m.topics.arrange(sortedTopics(m.report, m.topics.sort), m.now)
	}
}

// settle brings the lists in line with what was handled: rows and columns that fit.
func (m *Model) settle() {
	if m.report == nil {
		return
	}
	rows := m.rowsHigh()
	m.channels.settle(m.shownChannels(), rows)
	m.topics.settle(m.shownTopics(), rows)
	m.channels.needs = needed(m.channels.needs, m.channelColumns(), m.channels.sort, m.channelRows(m.channels.page(m.shownChannels(), rows)))
	m.topics.needs = needed(m.topics.needs, topicColumns, m.topics.sort, m.topicRows(m.topics.page(m.shownTopics(), rows)))
}

// tell shows the result of an action: failures until the user dismisses them.
func (m *Model) tell(a acted) {
	if a.err != nil {
		m.notice, m.dialog = "", &outcome{a}
		return
	}
	m.say("%s", a.summary())
}

// say shows a notice for a while.
func (m *Model) say(format string, args ...any) {
	m.notice, m.noticed = fmt.Sprintf(format, args...), m.now
}

// stale returns how old the figures are, if they should be newer.
func (m *Model) stale() (age time.Duration, is bool) {
	if len(m.recent) == 0 {
		return 0, false
	}
	age = m.now.Sub(m.recent[len(m.recent)-1].At)
	return age, age > 3*m.options.Interval+time.Second
}

// early reports whether there were too few polls for a verdict.
func (m *Model) early() bool { return len(m.recent) < recentReports-1 }

// ratesOld reports whether rates on the screen no longer tell anything.
func (m *Model) ratesOld() bool {
	age, stale := m.stale()
	return stale && age >= ratesFor
}
