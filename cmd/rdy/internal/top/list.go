package top

import (
	"slices"
	"strings"
	"time"
)

// list is what a screen remembers of its rows. Their order is kept until the user asks for
// another, or has not pressed a key for a while.
type list struct {
	sort     sorting
	order    []subject
	arranged time.Time // when order was made
	selected subject   // zero: the first row
	offset   int       // of the first row on the screen
	needs    []int     // widths of columns
}

// arrange takes a new order.
func (l *list) arrange(order []subject, now time.Time) {
	l.order, l.arranged, l.needs = order, now, nil
}

// at returns where the selected row is among those that are shown. A row that is gone counts as
// the first.
func (l *list) at(shown []subject) int { return max(slices.Index(shown, l.selected), 0) }

// current returns the selected row, zero if there is none.
func (l *list) current(shown []subject) subject {
	if len(shown) == 0 {
		return subject{}
	}
	return shown[l.at(shown)]
}

// move selects the row that is n rows further down.
func (l *list) move(shown []subject, n int) {
	if len(shown) > 0 {
		l.selected = shown[min(max(l.at(shown)+n, 0), len(shown)-1)]
	}
}

// settle scrolls so that the selected row is on a screen of this many rows.
func (l *list) settle(shown []subject, rows int) {
	at := l.at(shown)
	l.offset = min(max(l.offset, at-rows+1), at, max(len(shown)-rows, 0))
}

// page returns the rows that are on the screen.
func (l *list) page(shown []subject, rows int) []subject {
	return shown[min(l.offset, len(shown)):min(l.offset+rows, len(shown))]
}

// matches reports whether a name contains a filter. A * stands for anything.
func matches(name, filter string) bool {
	parts := strings.Split(filter, "*")
	for _, part := range parts {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}
