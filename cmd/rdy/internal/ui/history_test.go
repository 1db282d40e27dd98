package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"go.etcd.io/bbolt"
)

// History forgets what is a day old, and channels that are gone with it.
func TestHistoryBound(t *testing.T) {
	h := newRings(time.Minute, 5)
	key := seriesKey{"orders", "billing"}
	const at = 1_000_000
	for i := range int64(12) {
		h.move(at + 60*i)
		h.put(key, point{depth: float32(i)})
		if i == 0 {
			h.put(seriesKey{"gone", "gone"}, point{})
		}
	}
	times, points := h.since(key, 0)
	if len(points) != 5 || points[0].depth != 7 || points[4].depth != 11 || times[4] != at+11*60 {
		t.Errorf("got %v at %v", points, times)
	}
	if len(h.series) != 1 {
		t.Errorf("%d series are kept", len(h.series))
	}
}

// A daemon that makes up topics does not fill the memory: of too many, those that were not seen for
// longest go, and those that are there stay.
func TestHistoryOfManyTopics(t *testing.T) {
	h := &history{fine: newRings(2*time.Second, 5), coarse: newRings(time.Minute, 5)}
	begin := time.Unix(1_000_000, 0)
	report := func(poll, invented int) *judge.Report {
		r := &judge.Report{At: begin.Add(time.Duration(poll) * time.Minute), Topics: []judge.Topic{{Name: "z-real"}}}
		for i := range invented {
			r.Topics = append(r.Topics, judge.Topic{Name: fmt.Sprintf("a%d-%d", poll, i)})
		}
		slices.SortFunc(r.Topics, func(a, b judge.Topic) int { return strings.Compare(a.Name, b.Name) })
		return r
	}
	for poll := range 8 {
		if !h.add(report(poll, 4000)) {
			t.Errorf("no room in poll %d, although those of the last polls but one are gone", poll)
		}
		for _, g := range []*rings{h.fine, h.coarse} {
			if len(g.series) > mostSeries {
				t.Fatalf("%d series are kept", len(g.series))
			}
		}
	}
	if _, points := h.coarse.since(seriesKey{topic: "z-real"}, 0); len(points) != 5 || !isKnown(points[0].depth) {
		t.Errorf("the topic that stays has %v", points)
	}
	if h.add(report(20, mostSeries+1)) {
		t.Error("there was room for all of too many")
	}
	if !h.add(report(40, 10)) {
		t.Error("there was no room for ten")
	}
}

// That there is no room is told once, and again when it has been otherwise.
func TestHistoryFullIsTold(t *testing.T) {
	var told []error
	p := newPoller(nil, time.Second)
	p.trouble = func(err error) { told = append(told, err) }
	for _, room := range []bool{true, false, false, true, false} {
		p.noteRoom(room)
	}
	if len(told) != 2 || !strings.Contains(told[0].Error(), "at most 10,000 channels and topics") {
		t.Errorf("told %v", told)
	}
}

// An ephemeral channel that is gone is forgotten soon.
func TestHistoryEphemeral(t *testing.T) {
	h := newRings(time.Minute, 100)
	const at = 1_000_000
	for i := range int64(90) {
		h.move(at + 60*i)
		h.put(seriesKey{"orders", fmt.Sprintf("tail%d#ephemeral", i)}, point{})
		h.put(seriesKey{"orders", "stays#ephemeral"}, point{})
	}
	if n := len(h.series); n > 13 {
		t.Errorf("%d series are kept", n)
	}
	if _, points := h.since(seriesKey{"orders", "stays#ephemeral"}, 0); len(points) != 90 {
		t.Errorf("the one that stays has %d points", len(points))
	}
}

// When the clock is set back, points go on at once, in the order of their times.
func TestHistoryClockBack(t *testing.T) {
	h := newRings(time.Minute, 100)
	key := seriesKey{"orders", "billing"}
	const at = 1_000_000
	poll := func(after int64, depth float32) {
		h.move(at + after)
		h.put(key, point{depth: depth})
	}
	for i := range int64(150) {
		poll(60*i, float32(i))
	}
	poll(9000-3*60-1, 200) // a little
	poll(9000-3600, 300)
	poll(9000-3540, 301)
	times, points := h.since(key, at+9000-3600-121)
	want := []int64{at + 9000 - 3720, at + 9000 - 3660, at + 9000 - 3600, at + 9000 - 3540}
	if !slices.Equal(times, want) || points[1].depth != 89 || points[2].depth != 300 || points[3].depth != 301 {
		t.Errorf("got %v at %v, want the times %v", points, times, want)
	}
	poll(-100*3600, 5) // to before all
	if times, points := h.since(key, 0); len(times) != 1 || points[0].depth != 5 {
		t.Errorf("got %v at %v", points, times)
	}
}

// After the clock was set back, the file goes on as well.
func TestHistoryFileClockBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	s := New(Options{})
	at := time.Now().Add(-5 * time.Hour)
	poll := func(after time.Duration, depth int64) {
		r := &judge.Report{At: at.Add(after), Channels: []judge.Channel{{Topic: "orders", Name: "billing"}}}
		r.Channels[0].Depth = depth
		s.poller.history.add(r)
		if err := f.write(s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		poll(4*time.Hour+time.Duration(i)*time.Minute, 1)
	}
	for i := range 5 {
		poll(time.Duration(i)*time.Minute, int64(10+i))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openHistory(t, path)
	_, points := f.history.coarse.since(seriesKey{"orders", "billing"}, 0)
	for i := range 5 {
		if len(points) < 5 || points[i].depth != float32(10+i) {
			t.Fatalf("got %v", points)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Polls that share a slot leave the deepest depth, the mean of the rates that are known, and
// whether an nsqd was missing from any.
func TestHistoryMean(t *testing.T) {
	h := newRings(time.Minute, 5)
	key := seriesKey{"orders", "billing"}
	for i, p := range []point{{5, unknown, unknown, false}, {9, 1, 2, true}, {7, 3, 4, false}, {1, unknown, unknown, false}} {
		h.move(1_000_000 + int64(i))
		h.put(key, p)
	}
	if times, points := h.since(key, 0); len(points) != 1 || points[0] != (point{9, 2, 3, true}) || times[0] != 1_000_000 {
		t.Errorf("got %v at %v", points, times)
	}
}

// bigReport is what a poll says of 1,000 channels of 200 topics.
func bigReport(at time.Time) *judge.Report {
	r := &judge.Report{At: at}
	r.Cluster.RatesKnown = true
	for i := range 200 {
		r.Topics = append(r.Topics, judge.Topic{Name: fmt.Sprintf("topic-%03d", i), Waiting: int64(i), In: float64(i), RatesKnown: true})
		for k := range 5 {
			c := judge.Channel{Topic: r.Topics[i].Name, Name: fmt.Sprintf("channel-%d", k), Rates: &judge.Rates{In: float64(i), Finished: float64(k)}}
			c.Depth = int64(i*k) + at.Unix()%977
			r.Channels = append(r.Channels, c)
		}
	}
	return r
}

// At 1,000 channels, history takes at most 45 KB for each channel and each topic: after an hour of
// polls each 2 s, and after a day of minutes.
func TestHistoryMemory(t *testing.T) {
	if raceDetector {
		t.Skip("it is about sizes, and takes long with the race detector")
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const most = 1201 * 45_000
	at := time.Unix(1_000_000_000, 0)
	r := bigReport(at)
	before := heap()
	h := newHistory()
	poll := func(polls int, interval time.Duration) {
		for range polls {
			r.At = r.At.Add(interval)
			h.add(r)
		}
		if used := heap() - before; used > most || used < most/2 {
			t.Errorf("after %v: %d KB, want at most %d", r.At.Sub(at), used>>10, most>>10)
		}
	}
	poll(1800, 2*time.Second)
	poll(25*60, time.Minute)
	if n := len(h.coarse.series); n != 1201 {
		t.Errorf("%d series", n)
	}
}

// A chart gets a point for each interval, and null where nothing is known.
func TestChart(t *testing.T) {
	var c chart
	var times []int64
	var points []point
	for i := range int64(1800) {
		times, points = append(times, 2*i), append(points, point{depth: float32(i % 10), in: 4, finished: 2})
	}
	for i := range 6 {
		points[i] = point{unknown, unknown, unknown, false}
	}
	c.add(times, points, 4, time.Hour)
	text, err := c.In.MarshalJSON()
	if err != nil || len(c.Times) != chartPoints+1 || !strings.HasPrefix(string(text), "[null,4,4") {
		t.Errorf("%d points, error %v: %.40s", len(c.Times), err, text)
	}
	if last := c.Depth[len(c.Depth)-1]; last != 9 || c.Depth[len(c.Depth)-2] != 8 {
		t.Errorf("the last depth is %v, not that of the last point", last)
	}
	if len(c.Gaps) != 1 || c.Gaps[0] != (chartGap{0, 12, gapNothing, false}) {
		t.Errorf("gaps %v", c.Gaps)
	}
}

// A chart says of which times figures are missing, and why, and draws no line over them.
func TestChartGaps(t *testing.T) {
	c := chart{From: 100}
	var times []int64
	var points []point
	for at := int64(100); at < 400; at += 10 {
		if at > 200 && at < 300 {
			continue // nobody asked
		}
		times, points = append(times, at), append(points, point{1, 2, 3, at >= 350 && at < 370})
		if at == 390 {
			points[len(points)-1].in = unknown
		}
	}
	c.add(times, points, 20, 15*time.Minute)
	want := []chartGap{{200, 300, gapNothing, false}, {350, 370, gapLower, false}, {380, 390, gapRates, true}}
	if !slices.Equal(c.Gaps, want) {
		t.Errorf("gaps %v, want %v", c.Gaps, want)
	}
	broken, lower := false, []int64{}
	for _, i := range c.Lower {
		lower = append(lower, c.Times[i])
	}
	if !slices.Equal(lower, []int64{350, 360}) {
		t.Errorf("lower bounds at %v", lower)
	}
	for i, at := range c.Times {
		if at > 200 && at < 300 {
			broken = !isKnown(c.Depth[i]) && !isKnown(c.In[i])
		}
	}
	if !broken {
		t.Errorf("a line is drawn from 200 to 300: %v, %v", c.Times, c.Depth)
	}
}

// Channels on an nsqd that has restarted have no rates for a poll. Then the cluster has none
// either; a channel that is new does not matter.
func TestRatesKnown(t *testing.T) {
	r := bigReport(time.Now())
	r.Channels[0].Rates = nil
	if !ratesKnown(r) {
		t.Error("a new channel makes the cluster's rates unknown")
	}
	for i := range 200 {
		r.Channels[i].Rates = nil
	}
	if ratesKnown(r) {
		t.Error("the rates are known without a fifth of the channels")
	}
}

// An hour's chart goes back to what is known by minutes only, as after a restart.
func TestHistorySince(t *testing.T) {
	h := newHistory()
	key := seriesKey{"orders", "billing"}
	for _, at := range []int64{1000, 1060, 1120} {
		h.restore(minute{at, map[seriesKey]point{key: {depth: 1}}})
	}
	r := &judge.Report{Channels: []judge.Channel{{Topic: "orders", Name: "billing"}}}
	for _, at := range []int64{1300, 1302} {
		r.At = time.Unix(at, 0)
		h.add(r)
	}
	if times, _, step := h.since(key, 1010, true); fmt.Sprint(times) != "[1060 1120 1300 1302]" || step != 60 {
		t.Errorf("times %v, step %d", times, step)
	}
	if times, _, step := h.since(key, 1200, true); fmt.Sprint(times) != "[1300 1302]" || step != 2 {
		t.Errorf("times %v, step %d", times, step)
	}
	if times, _, _ := h.since(key, 0, false); fmt.Sprint(times) != "[1000 1060 1120 1300]" {
		t.Errorf("times %v", times)
	}
}

func openHistory(t *testing.T, path string) *HistoryFile {
	t.Helper()
	f, err := OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What was known before a restart is known after it: points, problems and actions. The time
// between is a gap.
func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	stage(t, func(o *Options) { o.History, o.AllowActions = f, true }, func(s *scene) {
		c := s.channel("orders", "billing")
		for range 100 {
			s.change(func() { c.Depth, c.Messages = c.Depth+20, c.Messages+20 })
			s.polls(1)
		}
		if status, body := s.do(newRequest(http.MethodPost, "/do/pause", url.Values{"topic": {"orders"}, "channel": {"billing"}})); status != http.StatusOK {
			t.Fatal(body)
		}
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := func(o *Options) {
		time.Sleep(290 * time.Second) //nolint:forbidigo // in a synctest bubble, which begins when the one before did
		f = openHistory(t, path)
		o.History = f
	}
	stage(t, again, func(s *scene) {
		s.channel("orders", "billing").Depth = 5
		s.polls(2)
		got := s.get("/series?topic=orders&channel=billing&range=1h")
		contains(t, got, `"depth":[580,`, `,2000,null,5`, `"text":"not known"`, `"text":"orphan"`, `"text":"pause"`)
		contains(t, s.get("/log"), "orphan", "pause", "orders/billing")
	})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a crash leaves in the file is a minute old at most. The minute that had begun goes on after
// a restart.
func TestHistoryAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	s := New(Options{})
	key := seriesKey{"orders", "billing"}
	at := time.Now().Add(-10 * time.Minute)
	poll := func(s *Server, after time.Duration, depth int64) {
		r := &judge.Report{At: at.Add(after), Channels: []judge.Channel{{Topic: "orders", Name: "billing"}}}
		r.Channels[0].Depth = depth
		s.poller.history.add(r)
		if err := f.write(s); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if err := f.Close(); err != nil { // as the end of the process does: nothing is written
			t.Fatal(err)
		}
		f = openHistory(t, path)
		_, points := f.history.coarse.since(key, 0)
		var depths []float32
		for _, p := range points {
			depths = append(depths, p.depth)
		}
		if got := fmt.Sprint(depths); got != want {
			t.Errorf("depths %s, want %s", got, want)
		}
	}
	poll(s, 0, 5)
	expect("[5]")
	s = New(Options{History: f})
	poll(s, 30*time.Second, 7)
	poll(s, time.Minute, 1)
	poll(s, 2*time.Minute, 2)
	expect("[7 1 2]")
	s = New(Options{History: f})
	poll(s, 2*time.Minute+30*time.Second, 9)
	expect("[7 1 9]")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is a day old is deleted, so that the file keeps its size. At 1,000 channels that is at most
// 40 MB.
func TestHistoryFileBound(t *testing.T) {
	if raceDetector {
		t.Skip("it is about sizes, and takes long with the race detector")
	}
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	f.db.NoSync = true // it is about the size
	s := New(Options{})
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	at := time.Now().Add(-26 * time.Hour)
	r := bigReport(at)
	var day int64
	for i := range 26 * 60 {
		for k := range r.Channels {
			r.Channels[k].Depth = int64((i*7919 + k*104729) % 100003)
			r.Channels[k].Rates.In = float64((i*31+k*17)%1009) / 3
		}
		r.At = at.Add(time.Duration(i) * time.Minute)
		s.poller.history.add(r)
		if i%10 == 0 {
			if err := f.write(s); err != nil {
				t.Fatal(err)
			}
		}
		if i == 24*60+30 {
			day = size()
		}
	}
	if now := size(); now > day+4<<20 || now > 40<<20 {
		t.Errorf("%d KB after a day, %d KB after two hours more", day>>10, now>>10)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	f = openHistory(t, path)
	t.Logf("a day of 1,000 channels: %d KB, two hours later %d KB, read in %v", day>>10, size()>>10, time.Since(begin))
	times, _ := f.history.coarse.since(seriesKey{}, 0)
	if n := len(times); n < coarsePoints-20 || n > coarsePoints {
		t.Errorf("%d minutes are read", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that cannot be used is one clear line.
func TestOpenHistoryErrors(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	f := openHistory(t, whole)
	s := New(Options{})
	r := bigReport(time.Now().Add(-10 * time.Minute))
	for range 8 {
		r.At = r.At.Add(time.Minute)
		s.poller.history.add(r)
	}
	if err := f.write(s); err != nil {
		t.Fatal(err)
	}
	t.Run("open elsewhere", func(t *testing.T) { expectHistoryError(t, whole, "another program has the file open") })
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damage := func(change func([]byte) []byte) string {
		path := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(path, change(append([]byte{}, content...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const page = 4096
	for name, change := range map[string]func([]byte) []byte{
		"text":      func([]byte) []byte { return []byte(strings.Repeat("this is no database\n", 1000)) },
		"cut short": func(b []byte) []byte { return b[:len(b)/2] },
		"headless":  func(b []byte) []byte { clear(b[:2*page]); return b },
		"holes": func(b []byte) []byte {
			clear(b[2*page:])
			return b
		},
		"noise": func(b []byte) []byte {
			for i := 2 * page; i < len(b); i += 97 {
				b[i] ^= 0x5a
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) { expectHistoryError(t, damage(change), "the file is damaged", "move it away") })
	}
	t.Run("another version", func(t *testing.T) {
		path := damage(func(b []byte) []byte { return b })
		change(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("2")) })
		expectHistoryError(t, path, `the file has version "2", and this rdy knows version 1`)
	})
	t.Run("another database", func(t *testing.T) {
		path := filepath.Join(dir, "other")
		change(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
		expectHistoryError(t, path, "it is not a history of rdy ui")
	})
	t.Run("a directory", func(t *testing.T) { expectHistoryError(t, dir, "is a directory") })
}

// change changes a file of bbolt.
func change(t *testing.T, path string, do func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(do); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func expectHistoryError(t *testing.T, path string, want ...string) {
	t.Helper()
	f, err := OpenHistory(path)
	if err == nil {
		_ = f.Close()
		t.Fatal("no error")
	}
	contains(t, err.Error(), append(want, path)...)
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("several lines: %v", err)
	}
}

// A file that cannot be written is told of once, and the page goes on.
func TestHistoryTrouble(t *testing.T) {
	f := openHistory(t, filepath.Join(t.TempDir(), "history"))
	var troubles []error
	stage(t, func(o *Options) { o.History, o.Trouble = f, func(err error) { troubles = append(troubles, err) } }, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(1)
		if err := f.db.Close(); err != nil {
			t.Fatal(err)
		}
		s.polls(200)
		contains(t, s.get("/"), "billing")
	})
	if len(troubles) != 1 || !strings.Contains(troubles[0].Error(), "rdy ui tries again every minute") {
		t.Errorf("troubles: %v", troubles)
	}
	_ = f.Close()
}

// A block never makes the reader panic, and one that was written is read.
func FuzzBlock(f *testing.F) {
	b, err := newBlocks()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(b.close)
	f.Add([]byte{}, "orders", "billing", float32(5))
	f.Add([]byte{6, 'o'}, "", "", float32(-1))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, "a", "", unknown)
	f.Fuzz(func(t *testing.T, plain []byte, topic, channel string, depth float32) {
		_, _ = b.read(1, plain)
		_, _ = b.read(1, b.zip.EncodeAll(plain, nil))
		key := seriesKey{topic, channel}
		block, err := b.write(minute{7, map[seriesKey]point{key: {depth, 1, 2, true}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.read(7, block)
		p, ok := m.points[key]
		if err != nil || m.at != 7 || len(m.points) != 1 || !ok || p.in != 1 || p.finished != 2 || !p.lower || isKnown(depth) && p.depth != depth {
			t.Errorf("got %v, error %v", m, err)
		}
	})
}
