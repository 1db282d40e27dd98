package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	// The delays between tries to write double from the first one to the last one.
	minRetryDelay = 250 * time.Millisecond
	maxRetryDelay = 15 * time.Second

	// keepBuffer is the largest buffer in bytes that is kept for the next lines.
	keepBuffer = 4 << 20
)

// topicWriter writes the messages of a topic to files. HandleMessage is the topic's handler;
// everything else happens on the goroutine of run.
type topicWriter struct {
	*storage
	topic    string
	names    *namer
	hand     *hand
	hangup   chan struct{}
	consumer *nsq.Consumer // of the topic; owned by HandleMessage, nil at first

	out        *logFile   // nil while none is open
	name       string     // of the last file opened, with <REV> in it
	rev        int        // the next revision of name to try
	ended      []*logFile // still to be completed
	buf        []byte
	failing    string        // why the last try to write failed; "" if it did not
	incomplete string        // the same of completing files
	delay      time.Duration // before the next try
	wrote      bool          // something was written since the last try began
}

// HandleMessage takes a message in hand. The writer finishes it.
func (w *topicWriter) HandleMessage(m *nsq.Message) error {
	m.DisableAutoResponse()
	if w.hand.add(m, time.Now()) >= w.maxInFlight*85/100 || w.starved() {
		w.hand.wake()
	}
	return nil
}

// starved reports whether an nsqd sends hardly any more messages until some are finished.
func (w *topicWriter) starved() bool {
	if w.consumer == nil || isClosed(w.consumer.Stopped()) { // a topic that comes back has a new one
		w.consumer = w.consumerOf(w.topic)
	}
	return w.consumer != nil && w.consumer.IsStarved()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// run writes until stopping is closed, and then what still comes until stopped is closed.
func (w *topicWriter) run(stopping, stopped <-chan struct{}) {
	tick := time.NewTicker(w.syncInterval)
	defer tick.Stop()
	w.note(w.arrange(false))
	for {
		full, ticks := w.hand.full, tick.C
		var retry <-chan time.Time
		if w.failing != "" {
			full, ticks, retry = nil, nil, time.After(w.delay)
		}
		hungUp := false
		select {
		case <-full:
		case <-ticks:
			w.completeFiles()
		case <-retry:
			w.completeFiles() // may make room
		case <-w.hangup:
			hungUp = true
		case <-stopping:
			w.drain(stopped)
			return
		}
		w.wrote = false
		err := w.flush()
		if err == nil || hungUp {
			err = cmp.Or(err, w.arrange(hungUp))
		}
		w.note(err)
	}
}

// flush writes all messages in hand and finishes them. After an error those that are not
// on disk stay in hand.
func (w *topicWriter) flush() error {
	if w.failing != "" {
		w.hand.drop()
	}
	batch := w.hand.take()
	var err error
	for len(batch) > 0 && err == nil {
		var n int
		if n, err = w.store(batch); err == nil {
			for _, m := range batch[:n] {
				m.Finish()
			}
			batch = batch[n:]
		}
	}
	w.hand.putBack(batch)
	return err
}

// store writes the first messages of a batch to the file that they belong to, as one
// frame. It returns how many there are. After an error none is on disk.
func (w *topicWriter) store(batch []held) (n int, err error) {
	name := w.names.name(batch[0].at)
	if w.out != nil && (w.out.name != name || w.tooOld() || !w.fits(batch[0], w.out.size)) {
		w.endFile()
	}
	if w.out == nil {
		if err := w.open(name); err != nil {
			return 0, err
		}
	}
	lines := w.buf[:0]
	for n < len(batch) && w.names.name(batch[n].at) == name && (n == 0 || w.fits(batch[n], w.out.size+int64(len(lines)))) {
		lines = append(append(lines, batch[n].Body...), w.delimiter...)
		n++
	}
	if w.buf = lines; cap(lines) > keepBuffer {
		w.buf = nil
	}
	frame, err := w.frames.frame(lines)
	if err != nil {
		return 0, err
	}
	if err := w.out.append(frame); err != nil {
		return 0, err
	}
	w.wrote = true
	w.written(n, len(lines))
	return n, nil
}

// fits reports whether a file of some size may get another message. Before compression
// counts: the frame is hardly ever larger.
func (w *topicWriter) fits(m held, size int64) bool {
	return w.rotateSize == 0 || size == 0 || size+int64(len(m.Body)+len(w.delimiter)) <= w.rotateSize
}

func (w *topicWriter) tooOld() bool {
	return w.rotateInterval > 0 && time.Since(w.out.opened) >= w.rotateInterval
}

// open creates the next file of a name.
func (w *topicWriter) open(name string) error {
	rev := w.rev
	if name != w.name {
		rev = 0
	}
	out, rev, err := w.openLog(name, rev)
	if err != nil {
		return err
	}
	w.out, w.name, w.rev = out, name, rev+1
	w.opened(out)
	return nil
}

// arrange completes a file whose time is over, or any if hungUp is set. With --empty-files
// it sees to it that there is one.
func (w *topicWriter) arrange(hungUp bool) error {
	name := w.names.name(time.Now())
	if w.out != nil && (hungUp || w.out.name != name || w.tooOld()) {
		w.endFile()
	}
	if !w.emptyFiles {
		return nil
	}
	if w.out == nil {
		if err := w.open(name); err != nil {
			return err
		}
		w.wrote = true
	}
	frame, err := w.frames.frame(nil)
	if err != nil || w.out.size > 0 || len(frame) == 0 {
		return err
	}
	err = w.out.append(frame) // a compressed file has at least one frame
	w.wrote = err == nil
	return err
}

// endFile ends the file. It is synced up to its last message, so nothing can be lost here
// any more.
func (w *topicWriter) endFile() {
	w.ended, w.out = append(w.ended, w.out), nil
	w.completeFiles()
}

// completeFiles completes the files that have ended. Those for which that fails are tried
// again at the next tick or, while writing fails, at the next try to write. They do not
// hold up the others.
func (w *topicWriter) completeFiles() {
	var first error
	w.ended = slices.DeleteFunc(w.ended, func(f *logFile) bool {
		err := w.complete(f)
		if err != nil && first == nil {
			first = fmt.Errorf("cannot complete %s: %w", f.path, err)
		}
		return err == nil
	})
	if first == nil {
		if w.incomplete != "" {
			w.notice("rdy: files are completed again: %s", w.incomplete)
			w.incomplete = ""
		}
		return
	}
	if why := reason(first); why != w.incomplete {
		w.incomplete = why
		w.notice("rdy: %v; trying again", first)
	}
	w.failed(first)
}

// complete cuts off what a failed write has left, closes the file and moves it to the
// output directory. A file without messages is removed, unless --empty-files is set.
func (w *topicWriter) complete(f *logFile) error {
	if err := f.mend(); err != nil {
		return err
	}
	_ = f.close() // all was synced, so there is nothing left to fail
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		w.log.Warn("another program has removed a file", "topic", w.topic, "file", f.path)
		return nil
	}
	if f.size == 0 && !w.emptyFiles {
		return os.Remove(f.path)
	}
	if w.moves() {
		if err := w.move(f); err != nil {
			return err
		}
	}
	w.log.Info("file is complete", "topic", w.topic, "file", f.dest)
	return nil
}

// note notes how a try to write ended, and sets the delay before the next one. That there
// was nothing to write does not end trouble.
func (w *topicWriter) note(err error) {
	if err == nil {
		if !w.wrote {
			return
		}
		w.trouble.change(w.app, w.failing, "", nil)
		w.failing, w.delay = "", 0
		return
	}
	why := reason(err)
	w.trouble.change(w.app, w.failing, why, err)
	w.failing = why
	w.delay = min(max(2*w.delay, minRetryDelay), maxRetryDelay)
	w.failed(fmt.Errorf("topic %s: cannot write: %w", w.topic, err))
}

// drain serves the stop: it writes at once what is in hand, and what the Consumer still
// hands over before it stops. What cannot be written goes back to nsqd.
func (w *topicWriter) drain(stopped <-chan struct{}) {
	w.hand.hurry()
	for over := false; ; {
		w.wrote = false
		err := w.flush()
		w.note(err)
		if err != nil {
			w.giveBack(err)
		}
		if over {
			break
		}
		select {
		case <-w.hand.full:
		case <-stopped:
			over = true
		}
	}
	if w.out != nil {
		w.endFile()
	}
	w.completeFiles()
	for _, f := range w.ended {
		_ = f.close()
		w.leave(fmt.Errorf("%s is not completed: %s", f.path, w.incomplete))
	}
}

// giveBack requeues what is in hand. With a delay, since without one the messages could
// come straight back: the Consumer may only be about to stop.
func (w *topicWriter) giveBack(err error) {
	rest := w.hand.take()
	for _, m := range rest {
		m.RequeueWithoutBackoff(time.Second)
	}
	w.hand.putBack(nil)
	w.leave(fmt.Errorf("topic %s: %s requeued: %w", w.topic, figures.Things(len(rest), "message"), err))
}
