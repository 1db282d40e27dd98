package top

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

func TestOverview(t *testing.T) {
	m := newScene(t, 80, 24)
	pressed(m, "down", "down")
	expectScreen(t, m, "overview-80.txt")
	m.handle(tea.WindowSizeMsg{Width: 132, Height: 24})
	m.settle()
	expectScreen(t, m, "overview-132.txt")
	m.options.ASCII = true
	m.handle(tea.WindowSizeMsg{Width: 80, Height: 24})
	m.settle()
	expectScreen(t, m, "overview-ascii.txt")
}

// openScene opens the channel that is stuck.
func openScene(t *testing.T, width, height int) *Model {
	m := newScene(t, width, height)
	pressed(m, "enter")
	c := m.channelOf(m.opened)
	c.Clients = []judge.Client{
		{ID: "fraud-check-1", Hostname: "ip-10-0-7-21", Connections: make([]admin.Client, 3), InFlight: 5, RDY: 5, RatesKnown: true, LastFinished: now.Add(-340 * time.Second), Level: judge.Warning},
		{ID: "fraud-check-2", Hostname: "ip-10-0-7-38", Connections: make([]admin.Client, 3), InFlight: 5, RDY: 5, RatesKnown: true, LastFinished: now.Add(-342 * time.Second), Level: judge.Warning},
	}
	c.History = judge.History{}
	for i := range judge.Points {
		depth, finished := int64(100), 25.0
		if i >= 54 {
			depth, finished = int64(8412*(i-51)/8), 0
		}
		c.History.Depth, c.History.Finished = append(c.History.Depth, depth), append(c.History.Finished, finished)
	}
	c.History.Depth[59] = 8412
	before := *m.report
	before.At, before.Channels = now.Add(-11*time.Second), append([]judge.Channel(nil), m.report.Channels...)
	for i, on := range []struct {
		depth, flight int64
		came          uint64
	}{{2806, 4, 83}, {2801, 2, 82}, {2805, 4, 83}} {
		addr := []string{"10.0.4.11:4151", "10.0.4.12:4151", "10.0.4.13:4151"}[i]
		counts := admin.ChannelCounts{Depth: on.depth, InFlight: on.flight, Messages: 1000 + on.came}
		c.NSQDs = append(c.NSQDs, admin.ChannelOn{NSQD: addr, ChannelCounts: counts})
		m.report.NSQDs = append(m.report.NSQDs, judge.NSQD{NSQD: admin.NSQD{Addr: addr, Hostname: "nsqd-" + string(rune('1'+i)), Broadcast: addr[:9], TCPPort: 4150}})
	}
	for i := range before.Channels {
		if b := &before.Channels[i]; b.Topic == c.Topic && b.Name == c.Name {
			for _, on := range c.NSQDs {
				on.Depth -= int64(on.Messages) - 1000
				on.Messages = 1000
				b.NSQDs = append(b.NSQDs, on)
			}
		}
	}
	m.recent = []*judge.Report{&before, m.report}
	return m
}

func TestChannel(t *testing.T) {
	m := openScene(t, 80, 24)
	expectScreen(t, m, "channel-80.txt")
	pressed(m, ".", "down", "enter")
	for _, key := range "fraud-ch" {
		pressed(m, string(key))
	}
	expectScreen(t, m, "channel-empty.txt")
}

// Where a dialog does not fit, its field stays on the screen.
func TestDialogOfALowTerminal(t *testing.T) {
	m := openScene(t, 40, 8)
	pressed(m, ".", "down", "enter", "f")
	expect(t, m, "┌ Empty", "messages will be lost", "> f_", "esc cancel", "└──")
	m.height = 3
	expect(t, m, "f_", "esc cancel", "└──")
}

func TestTopics(t *testing.T) {
	m := newScene(t, 80, 24)
	m.report.Topics[0].Paused = true
	pressed(m, "tab")
	expectScreen(t, m, "topics-80.txt")
}

func TestStates(t *testing.T) {
	m := newScene(t, 80, 24)
	for i := range m.report.Channels {
		m.report.Channels[i].Lower = true
	}
	c := &m.report.Cluster
	c.Lower, c.NSQDs = true, 5
	m.failing = "GET /stats of nsqd 10.0.4.13:4151: connection refused"
	m.report.Problems[0] = judge.Problem{
		Subject: judge.Subject{Kind: judge.OfNSQD, Addr: "10.0.4.13:4151"}, Level: judge.Critical, State: judge.Missing,
		Since: now.Add(-time.Minute), Text: "connection refused, held 8,412 messages",
	}
	m.report.Problems[2].Ended = now.Add(-20 * time.Second)
	m.settle()
	expectScreen(t, m, "missing-80.txt")
	m.now = now.Add(40 * time.Second)
	expectScreen(t, m, "stale-80.txt")
	m.report = nil
	m.recent = nil
	expectScreen(t, m, "asking-80.txt")
}

// hostile are names that a faulty or evil daemon may send.
var hostile = []string{
	"\x1b[2J\x1b]0;title\a", "line\nbreak\r", "漢字漢字漢字漢字漢字漢字漢字漢字", "👩‍👩‍👧‍👦🏳️‍🌈é", "\u202egpj.exe\u2066", "\xff\xfe\x9b31m",
	strings.Repeat("long", 60), "", "e\u0301e\u0301\u200b\ufeff", "\t\t",
}

// No size of the terminal and no name breaks a screen: it has as many lines as the terminal, none
// wider, and nothing in them but text and colours.
func TestSizes(t *testing.T) {
	m := openScene(t, 80, 24)
	for i := range m.report.Channels {
		c := &m.report.Channels[i]
		c.Topic, c.Name = hostile[i%len(hostile)], hostile[i/3%len(hostile)]
		c.Depth = 1 << uint(i)
		c.Clients = []judge.Client{{ID: c.Topic, Hostname: c.Name}}
	}
	sortReport(m.report)
	for i := range m.report.Problems {
		p := &m.report.Problems[i]
		p.Topic, p.Channel, p.Text, p.Advice = hostile[i], hostile[i+1], hostile[i+2], hostile[i+3]
	}
	m.options.Name, m.failing = hostile[0], clean(hostile[1])
	m.arrange()
	open := subject{m.report.Channels[20].Topic, m.report.Channels[20].Name}
	dialogs := []dialog{nil, help{}, &menu{subject: open}, &confirmation{action: Action{Empty, open.topic, open.channel}, typed: strings.Repeat("x", 80)},
		&confirmation{action: Action{Pause, "gone", "gone"}}, &outcome{acted{Action{Delete, open.topic, ""}, []Result{{"nsqd", hostile[4], hostile[1]}}, nil}}}
	sizes := [][2]int{{1, 1}, {2, 3}, {5, 20}, {20, 5}, {12, 12}, {30, 7}, {40, 15}, {60, 24}, {79, 24}, {80, 24}, {81, 14}, {131, 20}, {132, 50}, {250, 70}}
	for _, ascii := range []bool{false, true} {
		m.options.ASCII = ascii
		for _, size := range sizes {
			for _, s := range []screen{ofChannels, ofTopics, ofChannel} {
				for i, d := range dialogs {
					m.screen, m.opened, m.dialog = s, open, d
					m.handle(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
					m.settle()
					checkScreen(t, m, fmt.Sprintf("%d×%d, screen %d, dialog %d, ASCII %v", size[0], size[1], s, i, ascii))
				}
			}
		}
	}
}

func checkScreen(t *testing.T, m *Model, what string) {
	t.Helper()
	lines := m.lines()
	if len(lines) != m.height {
		t.Errorf("%s: %d lines", what, len(lines))
	}
	for _, line := range lines {
		text := ansi.Strip(line)
		if width(line) > m.width {
			t.Errorf("%s: %d cells: %q", what, width(line), line)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return visible.Steers(r, "") || m.options.ASCII && r > '~' }) {
			t.Errorf("%s: %q", what, line)
		}
		if rest := colours.ReplaceAllString(line, ""); strings.ContainsRune(rest, '\x1b') {
			t.Errorf("%s: %q", what, line)
		}
	}
}

// colours are the escapes that screens have.
var colours = regexp.MustCompile("\x1b\\[[0-9]*m")

// A long name does not push away the clock.
func TestLongNames(t *testing.T) {
	m := newScene(t, 80, 24)
	m.options.Name = "nsqlookupd-1.production.example.com:4161"
	expect(t, m, " rdy top  nsqlookup…com:4161   4 need you nsqd 6/6  lookupd 2/2  live 2 s  14:03\n")
	m.screen, m.opened = ofChannel, subject{strings.Repeat("topic", 10), strings.Repeat("channel", 8)}
	expect(t, m, "topictopic", "channelchannel", " live 2 s  14:03\n")
}

func TestSpark(t *testing.T) {
	for _, tc := range []struct {
		points []int64
		cells  int
		want   string
	}{
		{[]int64{0, 10, 20, 30, 40, 50, 60, 70, 80}, 9, "▁▂▃▄▅▆▇██"},
		{[]int64{-1, -1, 5, 9}, 4, "  ▁▁"},
		{[]int64{0, 100}, 4, "▁▁██"},
		{[]int64{0, 100, -1, 50}, 2, "█▅"},
		{nil, 3, "   "},
	} {
		if got := spark(tc.points, tc.cells); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.points, got, tc.want)
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{short(9999), "9,999"}, {short(10_000), "10k"}, {short(999_999), "999k"}, {short(1_270_000), "1.27 M"},
		{bytesText(0), "0 B"}, {bytesText(1946), "1.9 KiB"}, {bytesText(300 << 20), "300 MiB"},
		{precise(24.8), "24.8"}, {precise(0.4), "0.4"}, {precise(4920), "4,920"},
		{growth(0), ""}, {growth(849), " +849/s"}, {growth(-2.5), " -2.5/s"},
		{ago(time.Time{}, now), "–"}, {ago(now, now), "now"}, {seconds(500 * time.Millisecond), "0.5 s"}, {seconds(time.Minute), "1 min"},
		{middle("abcdefghij", 5), "ab…ij"}, {middle("abcdefghij", 2), "ab"}, {middle("漢字漢字漢字", 7), "漢…字"},
	} {
		if got := tc.got; got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// docs/top.md shows these screens.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/top.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"overview-80.txt", "channel-80.txt"} {
		screen, err := os.ReadFile("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(page, bytes.TrimRight(screen, "\n")) {
			t.Errorf("docs/top.md does not show %s", file)
		}
	}
}
