package ui

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

const (
	keepAlive    = 15 * time.Second // between two events, so that proxies keep the stream
	writeTimeout = 20 * time.Second
)

// pulse says what the frame of each page shows: how old its figures are, and what its title and
// icon say.
type pulse struct {
	At       int64    `json:"at"`       // time of the poll in milliseconds, 0 before the first
	Interval int64    `json:"interval"` // until the next one in milliseconds
	NeedYou  int      `json:"need"`
	Dead     int64    `json:"dead"` // letters
	Icon     string   `json:"icon"`
	Rows     []string `json:"rows,omitempty"` // that are tinted, because their state has changed
	News     []string `json:"news,omitempty"` // problems that this poll begins and ends, in sentences
}

func newPulse(st *state) pulse {
	p := pulse{Interval: st.interval.Milliseconds(), Icon: icon(st.report)}
	if st.report == nil {
		return p
	}
	p.At, p.NeedYou, p.Dead = st.report.At.UnixMilli(), needing(st.report), st.dead
	for _, problem := range st.report.Began {
		p.News = append(p.News, problem.String()+" is "+problem.State.Predicate()+".")
	}
	for _, problem := range st.report.Ended {
		p.News = append(p.News, problem.String()+" is no longer "+problem.State.Predicate()+".")
	}
	return p
}

// needing returns how many channels and daemons need the viewer.
func needing(r *judge.Report) int { return r.Cluster.ChannelsNeedYou + r.Cluster.DaemonsNeedYou }

// icon returns the name of the icon that carries the worst mark.
func icon(r *judge.Report) string {
	if r == nil || needing(r) == 0 {
		return "icon.svg"
	}
	return "icon-" + marks[r.Problems[0].Level] + ".svg" // the worst comes first
}

// pulse serves what a page in the background asks for now and then.
func (s *Server) pulse(w http.ResponseWriter, _ *http.Request) {
	st, _ := s.poller.current()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(newPulse(st)) // the browser may be gone
}

// live sends what changes on a screen, one event for each poll.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	screen := s.screens.get(r.PathValue("screen"))
	stream := newStream(w, r)
	defer stream.close()
	if screen == nil {
		_ = stream.event("gone", nil) // the page loads itself again
		return
	}
	mine := screen.begin(r.Header.Get("Last-Event-ID"))
	defer screen.end(mine)
	defer screen.watch(s.poller)()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	var told *state
	for {
		st, changed := s.poller.current()
		var err error
		switch {
		case st == told:
			err = stream.comment()
		case screen.late(st):
			_ = stream.event("gone", nil)
			return
		default:
			u, ok := screen.changes(mine, st)
			if !ok {
				return
			}
			err = stream.poll(u, st)
		}
		if err != nil {
			return
		}
		told = st
		select {
		case <-changed:
		case <-alive.C:
		case <-mine:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// poll sends what a poll has changed on a screen.
func (s *stream) poll(u update, st *state) error {
	if len(u.fragments) > 0 {
		if err := s.fragments(u); err != nil {
			return err
		}
	}
	p := newPulse(st)
	p.Rows = u.rows
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.event("polled", text)
}

// stream is a stream of server-sent events.
type stream struct {
	w       io.Writer
	zip     *gzip.Writer // nil if the browser takes none
	control *http.ResponseController
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for nginx
	s := &stream{w: w, control: http.NewResponseController(w)}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		s.zip = gzip.NewWriter(w)
		s.w = s.zip
	}
	return s
}

// fragments sends an event that htmx puts into the page.
func (s *stream) fragments(u update) error { return s.send("id: "+u.id, u.fragments) }

// event sends an event that app.js gets.
func (s *stream) event(name string, data []byte) error { return s.send("event: "+name, data) }

func (s *stream) send(first string, data []byte) error {
	var b bytes.Buffer
	b.WriteString(first + "\n")
	// A carriage return ends a line as well: the text after it could pass for another event.
	for line := range bytes.SplitSeq(visible.Escape(data, "\n\t"), []byte("\n")) {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	return s.write(b.Bytes())
}

// comment sends a line that browsers skip.
func (s *stream) comment() error { return s.write([]byte(":\n\n")) }

func (s *stream) write(b []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	if s.zip != nil {
		if err := s.zip.Flush(); err != nil {
			return err
		}
	}
	return s.control.Flush()
}

func (s *stream) close() {
	if s.zip != nil {
		_ = s.zip.Close()
	}
}
