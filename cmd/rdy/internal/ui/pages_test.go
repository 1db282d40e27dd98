package ui

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Every page arrives with its data.
func TestPages(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing#ephemeral")
		c.Count, c.Depth = 1, 3
		s.channel("orders", "audit").Paused = true
		s.channel("-x", "-y")
		s.polls(3)
		for path, want := range map[string]string{
			"/":                                  "/topics/orders/audit",
			"/?only=ephemeral":                   "/topics/orders/billing%23ephemeral",
			"/?view=topics":                      `title="orders"`,
			"/topics/orders":                     "/topics/orders/billing%23ephemeral",
			"/topics/orders/billing%23ephemeral": "rdy stat orders &#39;billing#ephemeral&#39; --watch",
			"/topics/orders/audit":               "Paused",
			"/topics/-x/-y":                      "rdy stat --watch --nsqd-http n:4151 -- -x -y",
			"/topics/-x":                         "rdy stat --watch --nsqd-http n:4151 -- -x",
			"/nodes":                             "/nodes/n:4151",
			"/nodes/n:4151":                      "n:4150",
			"/lookup":                            "rdy ui was started without --lookupd.",
			"/log":                               "None since rdy ui was started.",
			"/names?q=aud":                       `<option value="orders/audit">`,
			"/menu?kind=channel&topic=orders&channel=audit": "Copy for chat",
		} {
			contains(t, s.get(path), want)
		}
		lacks(t, s.get("/"), "billing#ephemeral")
		for _, path := range []string{"/nothing", "/topics/no", "/topics/orders/no", "/topics/%20", "/nodes/x:1"} {
			if status, body := s.do(newRequest(http.MethodGet, path, nil)); status != http.StatusNotFound || !strings.Contains(body, "Try again") {
				t.Errorf("%s: status %d", path, status)
			}
		}
	})
}

// "." and ".." are names of NSQ, but steps in a path: browsers ask for what is above.
func TestNamesOfDots(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("..", ".")
		c.Count, c.Depth = 0, 3
		s.polls(3)
		page := s.get("/")
		for {
			_, rest, more := strings.Cut(page, `href="`)
			if !more {
				break
			}
			var link string
			link, page, _ = strings.Cut(rest, `"`)
			u, err := url.Parse(html.UnescapeString(link))
			if err != nil || u.Path != "" && u.JoinPath().Path != u.Path {
				t.Errorf("a browser changes the link %s", link)
			}
		}
		for path, want := range map[string]string{
			"/":                "/topics/~../~.",
			"/?view=topics":    `"/topics/~.."`,
			"/topics/~..":      "/topics/~../~.",
			"/topics/~../~.":   "rdy stat .. . --watch",
			"/peek/~../~.":     "Peek",
			"/tail/~..":        "Tail",
			"/dead/~..":        "Dead letters",
			"/names?q=..":      `<option value="../.">`,
			"/topics/~../~no~": "",
		} {
			if want != "" {
				contains(t, s.get(path), want)
			} else if status, _ := s.do(newRequest(http.MethodGet, path, nil)); status != http.StatusNotFound {
				t.Errorf("%s: status %d", path, status)
			}
		}
	})
}

// The page of an nsqd that is named by a URL is found.
func TestNodeByURL(t *testing.T) {
	stage(t, func(o *Options) { o.Cluster.NSQDs = []string{"http://n:4151"} }, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(1)
		_, link, _ := strings.Cut(s.get("/nodes"), `class="name" href="`)
		link, _, _ = strings.Cut(link, `"`)
		server := httptest.NewRecorder()
		s.handler.ServeHTTP(server, newRequest(http.MethodGet, link, nil))
		if to := server.Header().Get("Location"); to != "" {
			link = to
		}
		contains(t, s.get(link), "About this nsqd", "orders/billing")
	})
}

// A cluster that has not responded yet is not called empty or fine.
func TestSilentCluster(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.change(func() { s.down = errors.New("connection refused") })
		s.polls(1)
		page := s.get("/")
		contains(t, page, `<span id="verdict">No nsqd responds</span>`, "Nothing is known yet.")
		lacks(t, page, "No channels yet", "Nothing needs you", "No topics yet")
	})
}

// An empty cluster says how to begin.
func TestEmptyCluster(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.polls(1)
		page := s.get("/")
		contains(t, page, "No topics yet", "echo hello | rdy pub orders --nsqd n:4150")
		lacks(t, page, "0 of 0 channels")
		s.change(func() { s.down = errors.New("connection refused") })
		s.polls(6)
		page = s.get("/")
		contains(t, page, "No nsqd responds", "1 daemon needs you")
		lacks(t, page, "No topics yet")
	})
}

// The view is in the address: what is shown, sorted by what, and which page.
func TestView(t *testing.T) {
	stage(t, nil, func(s *scene) {
		s.fill(250)
		s.polls(1)
		for _, tc := range []struct {
			query string
			rows  int
			first string
			foot  string
		}{
			{"", 100, "topic-000/channel-0", "250 channels, 1 to 100 shown"},
			{"?sort=-depth", 100, "topic-049/channel-4", "page=2"},
			{"?sort=depth&page=3", 50, "topic-040/channel-0", "201 to 250 shown"},
			{"?page=all", 250, "topic-", "By page"},
			{"?q=049*4", 1, "topic-049/channel-4", "1 channel"},
			{"?q=TOPIC-01&sort=name", 50, "topic-010/channel-0", "50 channels"},
			{"?only=orphans", 0, "No channel matches", "0 channels"},
			{"?sort=nonsense&only=nonsense&page=-7", 100, "topic-", "250 channels"},
			{"?page=99", 0, "No channel matches", "250 channels"},
			{"?view=topics&sort=name", 50, "topic-000", "50 topics"},
		} {
			page := s.get("/" + tc.query)
			_, table, _ := strings.Cut(page, "<tbody>")
			if n := strings.Count(table, `<tr id="r`); n != tc.rows {
				t.Errorf("%s: %d rows, want %d", tc.query, n, tc.rows)
			}
			head, _, _ := strings.Cut(table, "</tr>")
			if tc.query != "" && !strings.Contains(head, tc.first) {
				t.Errorf("%s: the first row is %s", tc.query, head)
			}
			contains(t, table, tc.foot)
		}
	})
}

// The table alone is sent to a page that asks for it, and a stream of its own follows it.
func TestTableAlone(t *testing.T) {
	stage(t, nil, func(s *scene) {
		a, b := s.channel("a", "a"), s.channel("b", "b")
		a.Count, b.Count = 1, 1
		s.polls(1)
		page := s.get("/")
		v := s.listen(page, "")
		defer v.stop()
		r := newRequest(http.MethodGet, "/?q=b", nil)
		r.Header.Set("X-Screen", screenOf(page))
		_, part := s.do(r)
		contains(t, part, `data-link="/?q=b"`, `id="only" hx-swap-oob="outerHTML"`, "/topics/b/b", `<div id="stream" hx-swap-oob="outerHTML"`)
		lacks(t, part, "<html", "/topics/a/a")
		v.read()
		s.change(func() { a.Depth, b.Depth = 8, 9 })
		s.polls(1)
		contains(t, v.read(), `<span id="r0-1" hx-swap-oob="innerHTML">8</span>`) // the table has not come yet
		v.stop()
		v = s.listen(part, "")
		sent := v.read()
		contains(t, sent, `<span id="r0-1" hx-swap-oob="innerHTML">9</span>`, "2 of 2 channels keep up")
		lacks(t, sent, "r1-", `id="r0-3"`) // what came with the table is not sent again
	})
}

func TestJump(t *testing.T) {
	stage(t, nil, func(s *scene) {
		for _, name := range []string{"billing", "audit"} {
			s.channel("orders", name)
		}
		s.channel("payments", "ledger")
		s.polls(1)
		for q, want := range map[string]string{
			"orders/billing": "/topics/orders/billing", "ORDERS": "/topics/orders", "ledger": "/topics/payments/ledger",
			"payments / ledger": "/topics/payments/ledger", "led": "/topics/payments/ledger", "orders/": "/?q=orders%2F", "": "/", "none": "/?q=none",
		} {
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, newRequest(http.MethodGet, "/jump?"+url.Values{"q": {q}}.Encode(), nil))
			if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
				t.Errorf("%q: status %d to %q, want %q", q, w.Code, got, want)
			}
		}
	})
}

// What clients and daemons say is text on every page, whatever it is.
func TestHostileText(t *testing.T) {
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>` + "\x1b[2J\u202e"
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		c.Count, c.Depth = 1, 100
		c.Clients = []fakeClient{{ID: hostile, Hostname: hostile, UserAgent: hostile, Remote: hostile, Connected: 946684000, Ready: 1, InFlight: 1}}
		s.polls(1)
		v := s.listen(s.get("/topics/orders/billing"), "")
		defer v.stop()
		s.polls(8)
		query := url.Values{"topic": {"orders"}, "channel": {"billing"}, "id": {hostile}, "host": {hostile}}.Encode()
		asked := url.Values{"q": {hostile}, "kind": {hostile}, "topic": {hostile}, "addr": {hostile}, "range": {hostile}, "sort": {hostile}}.Encode()
		page := s.get("/topics/orders/billing")
		contains(t, page, "&lt;script&gt;", `\x1b`, `\u202e`)
		for _, text := range []string{v.read(), page, s.get("/connections?" + query)} {
			lacks(t, text, "<script>alert", "<img", "\x1b", "\u202e")
		}
		for _, path := range []string{"/?", "/names?", "/menu?"} {
			lacks(t, s.get(path+asked), "<script>alert", "<img")
		}
	})
}

// Nothing is done before the name fits, nor by another site, nor on a read-only page.
func TestActions(t *testing.T) {
	var audit []Action
	stage(t, func(o *Options) {
		o.AllowActions, o.Audit = true, func(a Action) { audit = append(audit, a) }
		o.TrustHeader = "X-User"
	}, func(s *scene) {
		c := s.channel("orders", "billing")
		c.Count, c.Depth = 1, 42
		s.polls(2)
		contains(t, s.get("/ask/empty?topic=orders&channel=billing"), "42 messages will be lost", "pause it instead", `data-name="billing"`, " disabled",
			"rdy channel empty orders billing --nsqd-http n:4151")
		form := url.Values{"topic": {"orders"}, "channel": {"billing"}}
		refused := func(r *http.Request, want int) {
			t.Helper()
			if status, _ := s.do(r); status != want || len(s.posted) > 0 {
				t.Errorf("status %d, want %d; posted %q", status, want, s.posted)
			}
		}
		refused(newRequest(http.MethodPost, "/do/empty", form), http.StatusForbidden)
		form.Set("name", "Billing")
		refused(newRequest(http.MethodPost, "/do/empty", form), http.StatusForbidden)
		form.Set("name", "billing")
		other := newRequest(http.MethodPost, "/do/empty", form)
		other.Header.Set("Sec-Fetch-Site", "cross-site")
		refused(other, http.StatusForbidden)
		refused(newRequest(http.MethodGet, "/do/empty?"+form.Encode(), nil), http.StatusNotFound)
		refused(newRequest(http.MethodPost, "/do/nothing", form), http.StatusForbidden)
		refused(newRequest(http.MethodPost, "/do/empty", url.Values{"topic": {"*"}, "name": {"*"}}), http.StatusForbidden)
		r := newRequest(http.MethodPost, "/do/empty", form)
		r.Header.Set("X-User", "ada")
		status, body := s.do(r)
		contains(t, body, "orders/billing is emptied on 1 nsqd.")
		if status != http.StatusOK || len(s.posted) != 1 || s.posted[0] != "/channel/empty?channel=billing&topic=orders" {
			t.Errorf("status %d, posted %q", status, s.posted)
		}
		if len(audit) != 1 || audit[0].Action != "empty" || audit[0].Subject() != "orders/billing" || audit[0].From() != "ada (127.0.0.1:50000)" || audit[0].Error != "" {
			t.Errorf("audit %+v", audit)
		}
		contains(t, s.get("/log"), "orders/billing", "ada")
		s.change(func() { s.down = fmt.Errorf("connection refused") })
		_, body = s.do(newRequest(http.MethodPost, "/do/pause", form))
		contains(t, body, "orders/billing is not paused.", "connection refused", "Retry")
	})
	stage(t, nil, func(s *scene) {
		s.channel("orders", "billing")
		s.polls(1)
		contains(t, s.get("/"), "Read-only")
		lacks(t, s.get("/topics/orders/billing"), "/ask/")
		form := url.Values{"topic": {"orders"}, "channel": {"billing"}, "name": {"billing"}}
		for _, r := range []*http.Request{newRequest(http.MethodPost, "/do/delete", form), newRequest(http.MethodGet, "/ask/delete?"+form.Encode(), nil)} {
			if status, _ := s.do(r); status != http.StatusForbidden || len(s.posted) > 0 {
				t.Errorf("status %d, posted %q", status, s.posted)
			}
		}
	})
}

// A problem that the viewer hides is away from the list, but counts on the page.
func TestHide(t *testing.T) {
	stage(t, nil, func(s *scene) {
		c := s.channel("orders", "billing")
		for range 8 {
			s.change(func() { c.Depth, c.Messages = c.Depth+20, c.Messages+20 })
			s.polls(1)
		}
		page := s.get("/")
		contains(t, page, "Orphan", "1 channel needs you")
		hide := newRequest(http.MethodPost, "/hide?kind=channel&topic=orders&channel=billing&for=1h", nil)
		hide.Header.Set("X-Screen", screenOf(page))
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, hide)
		contains(t, w.Body.String(), "1 hidden", "Nothing needs you.")
		again := newRequest(http.MethodGet, "/", nil)
		again.AddCookie(w.Result().Cookies()[0])
		_, page = s.do(again)
		contains(t, page, "1 hidden", "1 channel needs you")
		lacks(t, page, ">Orphan<")
		pass(time.Hour)
		_, page = s.do(again)
		lacks(t, page, "1 hidden")
	})
}

// Only addresses and known names reach the page, and what it sends allows no foreign content.
func TestGuard(t *testing.T) {
	stage(t, func(o *Options) { o.Hosts = []string{"nsq.example"} }, func(s *scene) {
		s.polls(1)
		for host, want := range map[string]int{
			"127.0.0.1:4180": 200, "[::1]:4180": 200, "[::1]": 200, "10.0.0.7": 200, "localhost:4180": 200, "LOCALHOST.": 200, "NSQ.example:443": 200,
			"evil.example:4180": 421, "127.0.0.1.evil.example": 421, "nsq.example.evil.example": 421, "": 421,
		} {
			r := newRequest(http.MethodGet, "/", nil)
			r.Host = host
			w := httptest.NewRecorder()
			s.handler.ServeHTTP(w, r)
			if w.Code != want || w.Header().Get("Content-Security-Policy") != policy {
				t.Errorf("host %q: status %d, want %d", host, w.Code, want)
			}
		}
		screens := len(s.server.screens.byID)
		for _, tc := range []struct {
			site, what string
			want       int
		}{
			{"cross-site", "image", 403}, {"cross-site", "iframe", 403}, {"cross-site", "empty", 403}, {"same-site", "script", 403},
			{"cross-site", "document", 200}, {"same-origin", "empty", 200}, {"none", "document", 200}, {"", "", 200},
		} {
			r := newRequest(http.MethodGet, "/", nil)
			r.Header.Set("Sec-Fetch-Site", tc.site)
			r.Header.Set("Sec-Fetch-Dest", tc.what)
			if status, _ := s.do(r); status != tc.want {
				t.Errorf("%s %s: status %d, want %d", tc.site, tc.what, status, tc.want)
			}
		}
		if got := len(s.server.screens.byID) - screens; got != 4 {
			t.Errorf("%d screens were opened", got)
		}
		page := s.get("/")
		lacks(t, page, " style=", "<style", "onclick", "hx-on")
		big := newRequest(http.MethodPost, "/theme", url.Values{"theme": {strings.Repeat("x", maxBody)}})
		if status, _ := s.do(big); status != http.StatusBadRequest {
			t.Errorf("a request that is too big has status %d", status)
		}
	})
}

// With users, a name and a password are wanted.
func TestUsers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, err := ReadUsers(strings.NewReader("# comment\n\nada:" + string(hash) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	stage(t, func(o *Options) { o.Users = users }, func(s *scene) {
		s.polls(1)
		for _, tc := range []struct {
			user, password string
			want           int
		}{{"", "", 401}, {"ada", "wrong", 401}, {"bob", "secret", 401}, {"ada", "secret", 200}, {"ada", "secret", 200}, {"ada", "wrong", 401}} {
			r := newRequest(http.MethodGet, "/", nil)
			if tc.user != "" {
				r.SetBasicAuth(tc.user, tc.password)
			}
			if status, _ := s.do(r); status != tc.want {
				t.Errorf("%s %s: status %d, want %d", tc.user, tc.password, status, tc.want)
			}
		}
	})
	for text, want := range map[string]string{
		"": "no users", "ada": "line 1", "ada:plain": "line 1", ":" + string(hash): "line 1",
		"ada:" + string(hash) + "\nada:" + string(hash): "line 2: duplicate name ada",
	} {
		if _, err := ReadUsers(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// An unknown name takes as long as a wrong password, and the server compares one hash at a time.
// Users that are known do not wait for that, and each is kept in memory once.
func TestUsersGuessed(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	stage(t, nil, func(s *scene) {
		users, err := ReadUsers(strings.NewReader("ada:" + string(hash)))
		if err != nil {
			t.Fatal(err)
		}
		s.server.Users = users
		var compared, now atomic.Int32
		users.compare = func(hash, password []byte) error {
			if now.Add(1) > 1 {
				t.Error("two hashes are compared at a time")
			}
			defer now.Add(-1)
			compared.Add(1)
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // in a synctest bubble
			return bcrypt.CompareHashAndPassword(hash, password)
		}
		try := func(ctx context.Context, user, password string) int {
			r := newRequest(http.MethodGet, "/pulse", nil).WithContext(ctx)
			r.SetBasicAuth(user, password)
			status, _ := s.do(r)
			return status
		}
		s.polls(1)
		begin := time.Now()
		for _, name := range []string{"ada", "bob"} {
			if status := try(s.Context(), name, "wrong"); status != http.StatusUnauthorized {
				t.Errorf("%s: status %d", name, status)
			}
		}
		if took := time.Since(begin); took != 100*time.Millisecond {
			t.Errorf("a wrong name and a wrong password took %v", took)
		}
		var same sync.WaitGroup
		for range 6 {
			same.Go(func() {
				if status := try(s.Context(), "ada", "secret"); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			})
		}
		same.Wait()
		if n := compared.Load(); n != 3 {
			t.Errorf("%d comparisons", n)
		}
		ctx, cancel := context.WithCancel(s.Context())
		for range 20 {
			same.Go(func() { try(ctx, "ada", "guess") })
		}
		synctest.Wait()
		begin = time.Now()
		if status := try(s.Context(), "ada", "secret"); status != http.StatusOK || !time.Now().Equal(begin) {
			t.Errorf("status %d after %v", status, time.Since(begin))
		}
		cancel() // they have gone
		same.Wait()
		if n := compared.Load(); n > 5 {
			t.Errorf("%d comparisons for those who have gone", n)
		}
		// bcrypt repeats a password with a zero byte behind it, so that many fit.
		for i := range 20 {
			try(s.Context(), "ada", strings.Repeat("secret\x00", i)+"secret")
		}
		if len(users.known) != 1 {
			t.Errorf("%d passwords are kept", len(users.known))
		}
	})
}
