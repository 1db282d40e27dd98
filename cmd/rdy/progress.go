package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	progressInterval = 100 * time.Millisecond // between two calls of show
	lineInterval     = time.Second            // between two lines, where there is no bar

	barColumns = 70 // width of a bar with its figures
)

// progress shows the progress of a command: as a bar on a terminal that is wide
// enough, as lines elsewhere.
type progress struct {
	w     io.Writer
	width func() int               // columns of the terminal now, 0 for none
	bar   *progressbar.ProgressBar // nil for lines
	start time.Time
	total int64
	shown string    // counts in the last line
	next  time.Time // earliest time of the next line
}

// newProgress shows progress towards a total, which is -1 if it is not known.
func newProgress(w io.Writer, start time.Time, total int64, options ...progressbar.Option) *progress {
	p := &progress{w: w, width: func() int { return columns(w) }, start: start, total: total, next: start.Add(lineInterval)}
	if p.width() >= barColumns {
		p.bar = progressbar.NewOptions64(total, append([]progressbar.Option{
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetRenderBlankState(true), // starts the clock of the rate
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetSpinnerChangeInterval(0), // the spinner turns at each Set64
		}, options...)...)
	}
	return p
}

// messagesBar returns the options of a bar that counts messages.
func messagesBar(description string) []progressbar.Option {
	return []progressbar.Option{
		progressbar.OptionSetDescription(description),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("msg"),
	}
}

// bytesBar holds the options of a bar that counts bytes read.
var bytesBar = []progressbar.Option{progressbar.OptionSetDescription("read"), progressbar.OptionShowBytes(true)}

// show moves the bar to done. Without a bar it prints counts as a line, if they
// have changed and the last line is at least lineInterval old. A terminal that was made
// too narrow for the bar gets lines, cut to its width.
func (p *progress) show(now time.Time, done int64, counts string) {
	width := p.width()
	if p.bar != nil && width < barColumns {
		p.clearBar()
	}
	if p.bar != nil {
		if p.total > 0 {
			done = min(done, p.total)
		}
		_ = p.bar.Set64(done) // a command goes on without its bar
		return
	}
	if now.Before(p.next) || counts == p.shown {
		return
	}
	p.shown, p.next = counts, now.Add(lineInterval)
	line := fmt.Sprintf("%4.0fs  %s", now.Sub(p.start).Seconds(), counts)
	if width > 0 {
		line = line[:min(len(line), width)]
	}
	_, _ = fmt.Fprintln(p.w, line)
}

// run shows what count returns, until the returned function is called. That waits until the
// last line is written.
func (p *progress) run(count func() (done int64, counts string)) (end func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				p.clearBar()
				return
			case now := <-tick.C:
				done, counts := count()
				p.show(now, done, counts)
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// clearBar removes the bar. From then on show prints lines.
func (p *progress) clearBar() {
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}
