package top

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	goleak.VerifyTestMain(m)
}

// now is the time on the screens.
var now = time.Date(2026, 11, 30, 14, 3, 11, 0, time.UTC)

// hour returns a history from a spark of ten cells.
func hour(cells string, highest int64) (h judge.History) {
	for _, c := range cells {
		level := int64(strings.IndexRune(string(bars), c) / len(string(bars[0])))
		for range judge.Points / 10 {
			h.Depth = append(h.Depth, (2*level+1)*highest/16+level/7*highest/16)
			h.Finished = append(h.Finished, float64((2*level+1)*highest/16+level/7*highest/16))
		}
	}
	return h
}

// row is a channel of the scene.
func row(name string, state judge.State, level judge.Level, depth int64, cells string, in, out float64, drain judge.Drain, clients int) judge.Channel {
	topic, channel, _ := strings.Cut(name, "/")
	return judge.Channel{
		Topic: topic, Name: channel, State: state, Level: level, Drain: drain,
		ChannelCounts: admin.ChannelCounts{Depth: depth, ClientCount: clients},
		Rates:         &judge.Rates{In: in, Finished: out, Growth: in - out},
		History:       hour(cells, max(depth, 16)),
	}
}

// sceneChannels are the channels of the scene in the order of the screen.
func sceneChannels() []judge.Channel {
	kind := func(k judge.DrainKind) judge.Drain { return judge.Drain{Kind: k} }
	const grows, wavers = "▂▃▃▄▅▅▆▇▇█", "▃▂▆▃▂▃█▂▃▂"
	rows := []judge.Channel{
		row("payments/fraud-check", judge.Stuck, judge.Critical, 8412, "▁▁▁▁▁▁▁▁▄█", 24.8, 0, kind(judge.DrainsNever), 2),
		row("clicks/archive-2019", judge.Orphan, judge.Critical, 1_284_000, grows, 812, 0, kind(judge.NoClients), 0),
		row("webhooks/deliver", judge.Retrying, judge.Warning, 3120, grows, 118, 84, kind(judge.DrainsNever), 4),
		row("emails/smtp", judge.Starved, judge.Warning, 4267, "▁▁▁▁▁▅▆▇▇█", 41, 39, kind(judge.DrainsNever), 3),
		row("search-index/indexer", judge.Draining, judge.Notice, 18204, "▃▄▇██▇▆▄▃▂", 96, 331, judge.Drain{Kind: judge.DrainsIn, Time: 78 * time.Second}, 4),
		row("invoices/pdf", judge.Paused, judge.ByChoice, 940, grows, 2.1, 0, kind(judge.DrainPaused), 2),
		row("thumbnails/resize", judge.Emptied, judge.Notice, 0, "▂▄▅▇██▁▁▁▁", 7.8, 7.9, kind(judge.DrainsEmpty), 2),
		row("clicks/rollup", "", judge.Fine, 312, wavers, 812, 811, kind(judge.KeepsUp), 6),
		row("orders/analytics", "", judge.Fine, 88, wavers, 604, 606, kind(judge.KeepsUp), 2),
		row("orders/billing", "", judge.Fine, 61, wavers, 604, 602, kind(judge.KeepsUp), 6),
		row("orders/warehouse", "", judge.Fine, 40, wavers, 604, 605, kind(judge.KeepsUp), 9),
		row("audit/to-file", "", judge.Fine, 31, "▁▆▁▆▁▆▁█▁▄", 209, 208, kind(judge.KeepsUp), 3),
		row("payments/ledger", "", judge.Fine, 16, wavers, 25, 25, kind(judge.KeepsUp), 4),
		row("sessions/expire", "", judge.Fine, 4, "▁▁▁▁▁▁▁▁▁▁", 51, 51, kind(judge.KeepsUp), 2),
	}
	rows[12].Depth = 12
	wideFigures(rows)
	for i := len(rows); i < 41; i++ {
		rows = append(rows, row(fmt.Sprintf("zone-%d/index", i), "", judge.Fine, 0, "▁▁▁▁▁▁▁▁▁▁", 0, 0, kind(judge.DrainsEmpty), 1))
	}
	return rows
}

// wideFigures adds what only a wide screen shows.
func wideFigures(rows []judge.Channel) {
	for i, held := range [][2]int64{{10, 10}, {0, 0}, {60, 60}, {12, 14}, {198, 200}, {0, 0}} {
		rows[i].InFlight = held[0]
		rows[i].Clients = []judge.Client{{RDY: held[1]}}
	}
	rows[1].DiskDepth, rows[4].DiskDepth = 1_274_000, 8204
	rows[2].Rates.Requeued, rows[2].Rates.TimedOut = 38.2, 1
	rows[3].Rates.Requeued = 0.16
}

// scene returns a report of a cluster where four channels need the user, and the order of its
// channels on the screen.
func scene() (*judge.Report, []subject) {
	r := &judge.Report{At: now.Add(-time.Second), Cluster: judge.Cluster{
		Waiting: 1_320_000, Growth: 849, In: 4920, Finished: 4071, Published: 1867, Clients: 86, RatesKnown: true,
		NSQDs: 6, KnownNSQDs: 6, Lookupds: 2, KnownLookupds: 2, ChannelsNeedYou: 4,
	}}
	r.Channels = sceneChannels()
	var order []subject
	for i := range r.Channels {
		c := &r.Channels[i]
		order = append(order, subject{c.Topic, c.Name})
		r.Topics = append(r.Topics, judge.Topic{Name: c.Topic, Channels: 1, Waiting: c.Depth, Level: judge.Fine, RatesKnown: true, Published: c.Rates.In, Bytes: 1000 * c.Rates.In})
	}
	sortReport(r)
	problem := func(name string, level judge.Level, state judge.State, text, advice string, since time.Duration) {
		topic, channel, _ := strings.Cut(name, "/")
		r.Problems = append(r.Problems, judge.Problem{
			Subject: judge.Subject{Kind: judge.OfChannel, Topic: topic, Channel: channel},
			Level:   level, State: state, Since: now.Add(-since), Text: text, Advice: advice, Command: []string{"channel", "describe", topic, channel},
		})
	}
	problem("payments/fraud-check", judge.Critical, judge.Stuck, "nothing finished for 5 min 40 s, 8,412 wait",
		"Nothing has finished for 5 min 40 s. 8,412 messages wait and 6 connections hold 10 of RDY 10. No timeouts were counted: see what the handlers wait for. If the clients restart, nsqd delivers these messages again.", 340*time.Second)
	problem("clicks/archive-2019", judge.Critical, judge.Orphan, "no clients, grows 812/s, on disk", "", time.Minute)
	problem("webhooks/deliver", judge.Warning, judge.Retrying, "31 % requeued, never drains", "", time.Minute)
	problem("emails/smtp", judge.Warning, judge.Starved, "a client takes nothing", "", time.Minute)
	return r, order
}

// newScene returns a Model that shows the scene.
func newScene(t *testing.T, width, height int) *Model {
	m := newModel(context.Background(), Options{
		Name: "prod-eu", Cluster: &admin.Cluster{Lookupds: []string{"10.0.4.1:4161"}}, Interval: 2 * time.Second,
		Act: func(context.Context, Action) ([]Result, error) { return nil, nil },
	})
	t.Cleanup(m.work.close)
	m.width, m.height, m.now, m.key = width, height, now, now
	r, order := scene()
	m.report, m.recent = r, []*judge.Report{r, r, r, r, r, r}
	m.channels.arrange(order, now.Add(-8*time.Second))
	m.topics.arrange(sortedTopics(r, byState), now.Add(-8*time.Second))
	m.settle()
	return m
}

// pressed presses keys, at the time of the scene.
func pressed(m *Model, keys ...string) tea.Cmd {
	var cmd tea.Cmd
	for _, key := range keys {
		cmd = m.press(keyOf(key))
		m.settle()
	}
	return cmd
}

// keyOf returns the message of a key.
func keyOf(name string) tea.KeyPressMsg {
	named := map[string]rune{
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "up": tea.KeyUp, "down": tea.KeyDown,
		"pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "home": tea.KeyHome, "end": tea.KeyEnd, "backspace": tea.KeyBackspace,
	}
	if code, ok := named[name]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	if name == "ctrl+c" {
		return tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}

// text returns the screen without colours and without spaces at the ends of lines.
func (m *Model) text() string {
	var out strings.Builder
	for _, line := range m.lines() {
		out.WriteString(strings.TrimRight(ansi.Strip(line), " ") + "\n")
	}
	return out.String()
}

// expectScreen compares a screen with a file. RDY_TEST_UPDATE=1 writes the file.
func expectScreen(t *testing.T, m *Model, file string) {
	t.Helper()
	got, path := m.text(), filepath.Join("testdata", file)
	if os.Getenv("RDY_TEST_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs.\ngot:\n%s\nwant:\n%s", file, got, want)
	}
	for i, line := range m.lines() {
		if w := width(line); w > m.width {
			t.Errorf("%s: line %d has %d cells, the terminal %d", file, i, w, m.width)
		}
	}
}

// sortReport sorts the rows of a report as package judge does.
func sortReport(r *judge.Report) {
	slices.SortFunc(r.Channels, func(a, b judge.Channel) int {
		return cmpSubjects(subject{a.Topic, a.Name}, subject{b.Topic, b.Name})
	})
	slices.SortFunc(r.Topics, func(a, b judge.Topic) int { return strings.Compare(a.Name, b.Name) })
	r.Topics = slices.CompactFunc(r.Topics, func(a, b judge.Topic) bool { return a.Name == b.Name })
}
