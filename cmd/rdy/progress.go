package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	progressInterval = 100 * time.Millisecond // between two looks at how far a command is
	lineInterval     = time.Second            // between two lines, where a bar has no place

	barColumns = 70 // that a bar with its figures needs
)

// progress shows how far a command is: as a bar on a terminal with room for it, as
// lines elsewhere.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil for lines
	start time.Time
	total int64
	shown string // by the last line
	next  time.Time
}

// newProgress shows how much is done of a total, which is -1 if it is not known.
func newProgress(w io.Writer, start time.Time, total int64, options ...progressbar.Option) *progress {
	p := &progress{w: w, start: start, total: total, next: start.Add(lineInterval)}
	if columns(w) >= barColumns {
		p.bar = progressbar.NewOptions64(total, append([]progressbar.Option{
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetRenderBlankState(true), // the rate counts from here
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetSpinnerChangeInterval(0), // it turns when it is set
		}, options...)...)
	}
	return p
}

// messagesBar is a bar of messages of which something is said.
func messagesBar(what string) []progressbar.Option {
	return []progressbar.Option{
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("msg"),
	}
}

// bytesBar is a bar of bytes that are read.
var bytesBar = []progressbar.Option{progressbar.OptionSetDescription("read"), progressbar.OptionShowBytes(true)}

// show shows how much is done: a bar that, lines the counts. It may be called as
// often as one likes.
func (p *progress) show(now time.Time, done int64, counts string) {
	if p.bar != nil {
		if p.total > 0 {
			done = min(done, p.total)
		}
		_ = p.bar.Set64(done) // a bar that cannot be drawn is no reason to end
		return
	}
	if now.Before(p.next) || counts == p.shown {
		return
	}
	p.shown, p.next = counts, now.Add(lineInterval)
	_, _ = fmt.Fprintf(p.w, "%4.0fs  %s\n", now.Sub(p.start).Seconds(), counts)
}

// lines takes the bar away. From here on there are lines only.
func (p *progress) lines() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
