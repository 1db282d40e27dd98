package ui

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"html/template"
	"sync"
	"time"
)

const (
	maxScreens  = 2000
	screenGrace = 2 * time.Minute // how long a screen without a stream is kept
)

// cell is a part of a page that changes while the page is open. The template writes it as an
// element with this id.
type cell struct {
	ID   string
	HTML template.HTML
}

// page is what a screen shows. It is used under the screen's lock.
type page interface {
	// cells returns all parts that change, as of a poll.
	cells(*state) []cell
	// watches returns how to have more polled for the page while it is open.
	watches(*poller) (stop func())
}

// screen is a page that is open in a browser. A poll changes a few cells, and only those are
// sent.
type screen struct {
	id string

	mu   sync.Mutex
	page page
	sent map[string]template.HTML
	idle time.Time // when the last stream ended; zero while there is one
}

// changes returns the cells that a poll has changed since the last call, as fragments for htmx.
func (s *screen) changes(st *state) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out bytes.Buffer
	for _, c := range s.page.cells(st) {
		if s.sent[c.ID] == c.HTML {
			continue
		}
		s.sent[c.ID] = c.HTML
		fmt.Fprintf(&out, `<span id="%s" hx-swap-oob="innerHTML">%s</span>`, template.HTMLEscapeString(c.ID), c.HTML)
	}
	return out.Bytes()
}

// show replaces what the screen shows. The browser is about to get all of it.
func (s *screen) show(p page, st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.page, s.sent = p, make(map[string]template.HTML)
	for _, c := range p.cells(st) {
		s.sent[c.ID] = c.HTML
	}
}

// screens are those that are open.
type screens struct {
	mu   sync.Mutex
	byID map[string]*screen
}

func newScreens() *screens { return &screens{byID: make(map[string]*screen)} }

// open returns a screen for a page that is about to be sent. It drops screens that browsers have
// closed, and if there are too many the one that was without a stream for longest.
func (s *screens) open(p page, st *state) *screen {
	sc := &screen{id: rand.Text(), idle: time.Now()}
	sc.show(p, st)
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest *screen
	for id, other := range s.byID {
		other.mu.Lock()
		idle := other.idle
		other.mu.Unlock()
		switch {
		case idle.IsZero():
		case time.Since(idle) > screenGrace:
			delete(s.byID, id)
		case oldest == nil || idle.Before(oldest.idle):
			oldest = other
		}
	}
	if len(s.byID) >= maxScreens && oldest != nil {
		delete(s.byID, oldest.id)
	}
	s.byID[sc.id] = sc
	return sc
}

// get returns a screen, or nil.
func (s *screens) get(id string) *screen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}
