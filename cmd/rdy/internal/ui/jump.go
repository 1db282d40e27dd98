package ui

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

// maxNames is how many names are offered while a viewer types.
const maxNames = 20

// found returns the channels and topics whose names fit what a viewer types, and the one among
// them that fits exactly.
func found(st *state, words string) (fit []judge.Name, exact *judge.Name) {
	if st.report == nil {
		return nil, nil
	}
	words = strings.ToLower(strings.ReplaceAll(words, " / ", "/"))
	consider := func(n judge.Name, names ...string) {
		text := strings.ToLower(names[0])
		if !fits(words, text) {
			return
		}
		fit = append(fit, n)
		for _, name := range names {
			if exact == nil && strings.EqualFold(name, words) {
				exact = &fit[len(fit)-1]
			}
		}
	}
	for i := range st.report.Topics {
		consider(judge.Name{Topic: st.report.Topics[i].Name}, st.report.Topics[i].Name)
	}
	for i := range st.report.Channels {
		c := &st.report.Channels[i]
		consider(judge.Name{Topic: c.Topic, Channel: c.Name}, c.Topic+"/"+c.Name, c.Name)
	}
	return fit, exact
}

// jump sends the viewer to the topic or channel that was typed, or to all that fit.
func (s *Server) jump(w http.ResponseWriter, r *http.Request) {
	words := filterOf(r.FormValue("q"))
	fit, exact := found(s.poller.first(r.Context()), words)
	to := "/?" + url.Values{"q": {words}}.Encode()
	switch {
	case words == "":
		to = "/"
	case exact != nil:
		to = subjectPath(*exact)
	case len(fit) == 1:
		to = subjectPath(fit[0])
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// offers serves the names that fit what a viewer types, as options.
func (s *Server) offers(w http.ResponseWriter, r *http.Request) {
	st, _ := s.poller.current()
	fit, _ := found(st, filterOf(r.FormValue("q")))
	var options []string
	for _, n := range fit[:min(len(fit), maxNames)] {
		options = append(options, target{Name: n}.String())
	}
	s.render(w, http.StatusOK, "offers", options)
}
