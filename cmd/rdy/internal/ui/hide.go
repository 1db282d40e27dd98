package ui

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

const (
	hiddenCookie = "hidden"
	maxHidden    = 50 // a cookie has 4,096 bytes
)

// hiding is what a viewer does not want to see: until when in Unix seconds, by the problem. 0
// stands for as long as the problem lasts. It is in a cookie of the viewer.
type hiding map[string]int64

// hidingKey names a problem. With lasting it names this time that the subject is in this state.
func hidingKey(p *judge.Problem, lasting bool) string {
	text := fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s", p.Kind, p.Topic, p.Channel, p.Addr, p.State)
	if lasting {
		text = fmt.Appendf(text, "\n%d", p.Since.Unix())
	}
	h := fnv.New64a()
	_, _ = h.Write(text)
	return strconv.FormatUint(h.Sum64(), 36)
}

func (h hiding) hides(p *judge.Problem, now time.Time) bool {
	if len(h) == 0 {
		return false
	}
	if h[hidingKey(p, false)] > now.Unix() {
		return true
	}
	_, ok := h[hidingKey(p, true)]
	return ok
}

// hidingOf returns what the viewer of a request has hidden.
func hidingOf(r *http.Request) hiding {
	h := make(hiding)
	cookie, err := r.Cookie(hiddenCookie)
	if err != nil {
		return h
	}
	for entry := range strings.SplitSeq(cookie.Value, "_") {
		key, until, _ := strings.Cut(entry, "-")
		n, err := strconv.ParseInt(until, 36, 64)
		if err == nil && len(h) < maxHidden && (n == 0 || n > time.Now().Unix()) {
			h[key] = n
		}
	}
	return h
}

// save sends the cookie. Without entries it is removed.
func (h hiding) save(w http.ResponseWriter) {
	var entries []string
	for key, until := range h {
		entries = append(entries, key+"-"+strconv.FormatInt(until, 36))
	}
	c := &http.Cookie{Name: hiddenCookie, Value: strings.Join(entries, "_"), Path: "/", MaxAge: 30 * 24 * 3600, SameSite: http.SameSiteStrictMode, HttpOnly: true}
	if len(h) == 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// hide hides a problem from a viewer, or shows all again. It responds with the list of problems.
func (s *Server) hide(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	screen := s.screens.get(r.Header.Get("X-Screen"))
	if st.report == nil || screen == nil {
		s.refuse(w, http.StatusConflict, "This page is out of date. Reload it.")
		return
	}
	h := hidingOf(r)
	p := problemOf(st.report, subjectOf(r))
	length := map[string]time.Duration{"1h": time.Hour, "1d": 24 * time.Hour}[r.FormValue("for")]
	switch {
	case r.FormValue("for") == "none":
		clear(h)
	case p == nil:
		s.refuse(w, http.StatusNotFound, "This problem has ended.")
		return
	case len(h) >= maxHidden:
		s.refuse(w, http.StatusConflict, fmt.Sprintf("No more than %d problems can be hidden.", maxHidden))
		return
	case length > 0:
		h[hidingKey(p, false)] = time.Now().Add(length).Unix()
	default:
		h[hidingKey(p, true)] = 0
	}
	h.save(w)
	s.render(w, http.StatusOK, "needs", struct {
		Problems []problemRow
		Aside    []cell
	}{problems(st, h), screen.hide(h, st)})
}

// hide has a screen leave out what its viewer has hidden.
func (s *screen) hide(h hiding, st *state) (aside []cell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.page.(*overview); ok {
		p.hidden = h
		return p.aside(st)
	}
	return nil
}
