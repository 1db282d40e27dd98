package ui

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/nsqtest"
)

// No page number is outside of the table.
func TestPageNumbers(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(1)
		for _, page := range []string{"9223372036854775807", "184467440737095517", "99999999999999999999", "-9223372036854775808", "1e9"} {
			contains(t, s.get("/?page="+page), "1 channel")
		}
	})
}

// A topic is taken away from nsqds of the cluster alone: viewers cannot have requests sent to
// other addresses, nor put lines of their own into the log.
func TestTombstoneElsewhere(t *testing.T) {
	var audit []Action
	stage(t, func(o *Options) { o.AllowActions, o.Audit = true, func(a Action) { audit = append(audit, a) } }, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(2)
		for _, addr := range []string{"10.0.0.1:80", "n:4151/", "http://n:4151", "user@n:4151", "n:4151\nforged"} {
			form := url.Values{"topic": {"orders"}, "name": {"orders"}, "nsqd": {addr}}
			if status, _ := s.do(newRequest(http.MethodPost, "/do/tombstone", form)); status != http.StatusForbidden || len(s.posted) > 0 || len(audit) > 0 {
				t.Errorf("%q: status %d, posted %q, audit %v", addr, status, s.posted, audit)
			}
		}
		form := url.Values{"topic": {"orders"}, "name": {"orders"}, "nsqd": {"n:4151"}}
		if status, body := s.do(newRequest(http.MethodPost, "/do/tombstone", form)); status != http.StatusOK || len(s.posted) != 1 || len(audit) != 1 {
			t.Errorf("status %d, posted %q, audit %v: %s", status, s.posted, audit, body)
		}
	})
}

// Names that no nsqd has, but that something may send that says it is one, neither end an event of
// the stream nor reorder a page.
func TestHostileNames(t *testing.T) {
	const hostile = "a\r\revent: gone\rdata: x\r\r\u202e\x1b[2J<img>"
	stage(t, func(o *Options) { o.Cluster.NSQDs = append(o.Cluster.NSQDs, "gone\u202e:4151") }, func(s *scene) {
		c := s.channel(hostile, hostile)
		s.polls(1)
		views := []*viewer{s.listen(s.get("/"), ""), s.listen(s.get("/nodes"), ""), s.listen(s.get("/log"), ""), s.listen(s.get("/nodes/n:4151"), "")}
		for range 8 {
			s.change(func() { c.Depth, c.Messages = c.Depth+20, c.Messages+20 })
			s.polls(1)
		}
		for _, v := range views {
			lacks(t, v.read(), "\r", "\u202e", "\x1b", "<img")
			v.stop()
		}
		for _, path := range []string{"/", "/?view=topics", "/nodes", "/log", "/lookup", "/nodes/n:4151", "/menu?" + url.Values{"kind": {"channel"}, "topic": {hostile}, "channel": {hostile}}.Encode()} {
			lacks(t, s.get(path), "\r", "\u202e", "\x1b", "<img")
		}
		contains(t, strings.ToLower(s.get("/")), "event: gone", `\u202e`)
	})
}

// An action that a daemon holds up has its line, also if the server ends meanwhile, and the history
// file has it.
func TestActionEndsWithServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	var audit []Action
	stage(t, func(o *Options) {
		o.AllowActions, o.History, o.Audit = true, f, func(a Action) { audit = append(audit, a) }
	}, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(2)
		s.change(func() { s.delay = time.Hour })
		go s.do(newRequest(http.MethodPost, "/do/pause", url.Values{"topic": {"orders"}, "channel": {"billing"}}))
		synctest.Wait()
	})
	if len(audit) != 1 || audit[0].Action != "pause" || audit[0].Error == "" {
		t.Errorf("audit %+v", audit)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openHistory(t, path)
	if len(f.actions) != 1 {
		t.Errorf("the file has the actions %+v", f.actions)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// An nsqd that hangs up once it has said yes ends a reading with a word about it.
func TestTailCut(t *testing.T) {
	for _, command := range []string{"IDENTIFY", "SUB", "RDY"} {
		stageNSQD(t, nil, func(s *scene, n *nsqtest.Nsqd) {
			s.channel("orders", "billing")
			n.CreateChannel("orders", "billing")
			s.polls(2)
			n.Inject(nsqtest.Fault{Command: command, Times: 1, Close: true})
			v := s.follow("/tail/orders", nil)
			pass(20 * time.Second)
			defer v.stop()
			if sent := v.read(); len(events(sent, "end")) != 1 {
				t.Errorf("after %s: %q", command, sent)
			}
		})
	}
}

// An nsqlookupd that fails says nothing about the nsqds that were asked.
func TestActionWithoutLookupd(t *testing.T) {
	stage(t, func(o *Options) { o.AllowActions, o.Cluster.Lookupds = true, []string{"l:4161"} }, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(2)
		form := url.Values{"topic": {"orders"}, "channel": {"billing"}, "name": {"billing"}}
		for action, want := range map[string]string{
			"pause":  "orders/billing is paused on 1 nsqd, but perhaps not on others.",
			"empty":  "orders/billing is emptied on 1 nsqd, but perhaps not on others.",
			"delete": "orders/billing is not deleted.",
		} {
			_, body := s.do(newRequest(http.MethodPost, "/do/"+action, form))
			contains(t, body, want, "l:4161: GET /nodes: HTTP status 404", "Retry")
		}
	})
}

// A file that this build lacks is not kept for a year by browsers: another build may have it.
func TestStaticOfOtherBuild(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.polls(1)
		for path, want := range map[string]int{
			"/static/" + build + "/app.js": 200, "/static/0123456789abcdef/app.js": 404, "/static/" + build + "/none.js": 404, "/static/" + build + "/": 404,
			"/static/": 404,
		} {
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, newRequest(http.MethodGet, path, nil))
			if kept := strings.Contains(w.Header().Get("Cache-Control"), "immutable"); w.Code != want || kept != (want == 200) {
				t.Errorf("%s: status %d, header %v", path, w.Code, w.Header())
			}
		}
	})
}

// A minute that could not be read again is not written: the file would be damaged at the next start.
func TestHistoryTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	f := openHistory(t, path)
	s := New(Options{})
	r := &judge.Report{At: time.Now()}
	for i := range 5 { // no nsqd has such names
		r.Channels = append(r.Channels, judge.Channel{Topic: strings.Repeat(string(rune('a'+i)), maxBlock/4), Name: "c"})
	}
	s.poller.history.add(r)
	if err := f.write(s); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("error %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openHistory(t, path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
