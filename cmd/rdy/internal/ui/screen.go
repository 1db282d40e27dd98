package ui

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"html/template"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	maxScreens  = 2000
	maxSent     = 1_000_000       // cells of all screens, of which some 60 bytes each are kept
	screenGrace = 2 * time.Minute // how long a screen without a stream is kept
)

// cell is a part of a page that changes while the page is open. The template writes it as an
// element with this id.
type cell struct {
	ID   string
	HTML template.HTML
	// Inner are cells within this one, such as those of a table. Then this one is sent only when
	// Key changes, such as when a row comes or goes, and else those of Inner that have changed.
	Inner []cell
	Key   string
	// Row is the id of the table row that is tinted for a moment when the cell changes.
	Row string
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

	mu      sync.Mutex
	page    page
	early   bool              // it was opened before the first poll, so it has no rows
	sent    map[string]uint64 // hashes of what the browser has, by the id of the cell
	updates int               // that have been made for streams
	whole   bool              // the next update has all cells: nobody knows what the browser has
	stream  chan struct{}     // of the browser that listens, or nil; closed when another one takes its place
	idle    time.Time         // when the last stream ended
}

var seed = maphash.MakeSeed()

// update is what a poll changes on a screen.
type update struct {
	id        string   // that a browser names when it comes back
	fragments []byte   // for htmx
	rows      []string // ids of the rows to tint
}

// changes returns what a poll has changed since the last call. It returns false if another
// stream has taken the place of this one.
func (s *screen) changes(stream chan struct{}, st *state) (u update, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != stream {
		return u, false
	}
	if s.whole {
		clear(s.sent)
	}
	var out bytes.Buffer
	for _, c := range s.page.cells(st) {
		s.add(c, &out, &u)
	}
	if s.whole {
		s.whole, u.rows = false, nil // the state of a row may be the one that the browser has
	}
	if out.Len() > 0 {
		s.updates++
		u.fragments, u.id = out.Bytes(), s.lastUpdate()
	}
	return u, true
}

// lastUpdate returns the id of the last update, empty if there was none.
func (s *screen) lastUpdate() string {
	if s.updates == 0 {
		return ""
	}
	return strconv.Itoa(s.updates)
}

// add adds a cell to an update, if it has changed.
func (s *screen) add(c cell, out *bytes.Buffer, u *update) {
	if !s.renew(c) {
		for _, inner := range c.Inner {
			s.add(inner, out, u)
		}
		return
	}
	for _, inner := range c.Inner { // they come with it
		s.renew(inner)
	}
	if c.Row != "" {
		u.rows = append(u.rows, c.Row)
	}
	fmt.Fprintf(out, `<span id="%s" hx-swap-oob="innerHTML">%s</span>`, template.HTMLEscapeString(c.ID), c.HTML)
}

// renew reports whether the browser has something else than a cell, and notes that it gets it.
func (s *screen) renew(c cell) bool {
	content := string(c.HTML)
	if c.Inner != nil {
		content = c.Key
	}
	hash := maphash.String(seed, content)
	was, known := s.sent[c.ID]
	s.sent[c.ID] = hash
	return !known || was != hash
}

// late reports whether the screen was opened before the first poll, and st is later.
func (s *screen) late(st *state) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.early && st.report != nil
}

// begin says that a browser listens, and that last is the id of the last update that it has got.
// It returns the browser's stream, which is closed when another one takes its place. All cells
// are sent again if an update is missing:
//
//  1. The network fails. An update is written to the connection, where it is lost, and sent
//     says that the browser has it.
//  2. The browser connects again. Without this its page would show what the update has
//     replaced, until the same cells change once more.
//
// The stream of the failed connection may not have ended yet. It must get no more updates: they
// would be lost as well.
func (s *screen) begin(last string) (stream chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		close(s.stream)
	}
	s.stream = make(chan struct{})
	if last != s.lastUpdate() {
		s.whole = true
	}
	return s.stream
}

// end says that a stream is over.
func (s *screen) end(stream chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == stream {
		s.stream, s.idle = nil, time.Now()
	}
}

// unused returns since when no browser listens, zero if one does, and the number of cells that
// are kept.
func (s *screen) unused() (since time.Time, cells int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		return time.Time{}, len(s.sent)
	}
	return s.idle, len(s.sent)
}

func (s *screen) watch(p *poller) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.page.watches(p)
}

// screens are those that are open.
type screens struct {
	mu   sync.Mutex
	byID map[string]*screen
}

func newScreens() *screens { return &screens{byID: make(map[string]*screen)} }

// open returns a screen for a page whose browser is about to get some cells.
func (s *screens) open(p page, st *state, cells []cell) *screen {
	sc := &screen{id: rand.Text(), page: p, early: st.report == nil, sent: make(map[string]uint64), idle: time.Now()}
	for _, c := range cells {
		sc.renew(c)
		for _, inner := range c.Inner {
			sc.renew(inner)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(len(sc.sent))
	s.byID[sc.id] = sc
	return sc
}

// makeRoom drops screens that browsers have closed, and if there are too many others, or they have
// too many cells, those that were without a stream for longest. The caller holds mu.
func (s *screens) makeRoom(cells int) {
	type idleScreen struct {
		id    string
		since time.Time
		cells int
	}
	var idle []idleScreen
	for id, other := range s.byID {
		since, n := other.unused()
		if !since.IsZero() && time.Since(since) > screenGrace {
			delete(s.byID, id)
			continue
		}
		cells += n
		if !since.IsZero() {
			idle = append(idle, idleScreen{id, since, n})
		}
	}
	slices.SortFunc(idle, func(a, b idleScreen) int { return a.since.Compare(b.since) })
	for _, old := range idle {
		if len(s.byID) < maxScreens && cells <= maxSent {
			break
		}
		delete(s.byID, old.id)
		cells -= old.cells
	}
}

// get returns a screen, or nil.
func (s *screens) get(id string) *screen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}
