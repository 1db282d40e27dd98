package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	progressInterval = 100 * time.Millisecond // between two looks at how far a demo is
	lineInterval     = time.Second            // between two lines, where a bar has no place

	barColumns = 70 // that a bar with its figures needs
)

// progress shows how far a demo is: as a bar on a terminal with room for it, as
// lines elsewhere.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil for lines
	start time.Time
	shown totals // by the last line
	next  time.Time
}

func newProgress(w io.Writer, start time.Time, messages int) *progress {
	p := &progress{w: w, start: start, next: start.Add(lineInterval)}
	if columns(w) >= barColumns {
		p.bar = progressbar.NewOptions(messages,
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetDescription("handled"),
			progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("msg"),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetRenderBlankState(true), // the rate counts from here
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// show shows the counts. It may be called as often as one likes.
func (p *progress) show(now time.Time, t totals) {
	if p.bar != nil {
		_ = p.bar.Set(min(t.handled, p.bar.GetMax())) // a bar that cannot be drawn is no reason to end
		return
	}
	if now.Before(p.next) || t == p.shown {
		return
	}
	p.shown, p.next = t, now.Add(lineInterval)
	_, _ = fmt.Fprintf(p.w, "%4.0fs  published %d  handled %d  requeued %d\n",
		now.Sub(p.start).Seconds(), t.published, t.handled, t.requeued)
}

// lines takes the bar away. From here on there are lines only.
func (p *progress) lines() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
