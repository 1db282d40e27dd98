package ui

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	historyVersion = "1" // of what is in the file
	historyEvery   = time.Minute
	historyLock    = time.Second // how long another program may hold the file
	historyStep    = 1 << 20     // bytes by which the file grows
	historyBatch   = 100         // minutes that are written at once: after a failure there may be many
)

// The buckets of the file. Meta has the version. Minutes has a block for each coarse point, by its
// time in seconds. Log has the problems and the actions, each as JSON.
var (
	metaBucket, minutesBucket, logBucket = []byte("meta"), []byte("minutes"), []byte("log")
	versionKey, eventsKey, actionsKey    = []byte("version"), []byte("problems"), []byte("actions")
)

// HistoryFile keeps the last day in a file, so that it survives a restart. A Server that has it in
// its Options reads and writes it.
type HistoryFile struct {
	path   string
	db     *bbolt.DB
	blocks *blocks

	// What was in the file, for the Server that gets it.
	history *history
	events  []event
	actions []Action

	// Used by run alone.
	last    int64 // time of the last minute in the file that changes no more
	failing bool
}

// OpenHistory opens a file, or creates it, and reads what it has. Its error says what is wrong in
// one line: another program has the file open, it is damaged, or it is something else.
func OpenHistory(path string) (f *HistoryFile, err error) {
	f = &HistoryFile{path: path, history: newHistory()}
	if f.blocks, err = newBlocks(); err != nil {
		return nil, err
	}
	err = guarded(f.open)
	f.blocks.close()
	if err == nil {
		return f, nil
	}
	if f.db != nil {
		_ = f.db.Close()
	}
	return nil, fmt.Errorf("history %s: %w", path, err)
}

// damaged is why a file cannot be read.
type damaged struct{ cause any }

func (d damaged) Error() string {
	return fmt.Sprintf("the file is damaged (%v); move it away to begin a new one", d.cause)
}

// guarded calls do. bbolt maps the file into memory and trusts it: a damaged one makes it panic,
// and one that is cut short makes the system raise a fault. Both become errors.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = damaged{cause}
		}
	}()
	return do()
}

// open opens the file and reads it.
func (f *HistoryFile) open() error {
	db, err := bbolt.Open(f.path, 0o600, &bbolt.Options{Timeout: historyLock, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return errors.New("another program has the file open, perhaps another rdy ui; give each a file of its own")
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return damaged{err}
	case err != nil:
		return err
	}
	f.db, db.AllocSize = db, historyStep
	if err := f.begin(); err != nil {
		return err
	}
	return f.db.View(f.read)
}

// begin makes the buckets of a new file, and checks the version of another one.
func (f *HistoryFile) begin() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return damaged{"it is cut short"}
		}
		if first, _ := tx.Cursor().First(); first == nil { // it is new
			meta, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			_, minutes := tx.CreateBucket(minutesBucket)
			_, log := tx.CreateBucket(logBucket)
			return errors.Join(minutes, log, meta.Put(versionKey, []byte(historyVersion)))
		}
		meta := tx.Bucket(metaBucket)
		if meta == nil || tx.Bucket(minutesBucket) == nil || tx.Bucket(logBucket) == nil {
			return errors.New("it is not a history of rdy ui")
		}
		if version := meta.Get(versionKey); string(version) != historyVersion {
			return fmt.Errorf("the file has version %q, and this rdy knows version %s", version, historyVersion)
		}
		return nil
	})
}

// read reads what is not too old.
func (f *HistoryFile) read(tx *bbolt.Tx) error {
	now := time.Now()
	var before int64
	c := tx.Bucket(minutesBucket).Cursor()
	for key, block := c.Seek(minuteKey(now.Unix() - coarsePoints*int64(coarseStep/time.Second))); key != nil; key, block = c.Next() {
		at := int64(binary.BigEndian.Uint64(key)) // #nosec G115 -- as minuteKey writes it
		if at > now.Unix() {
			break // the clock was wrong
		}
		m, err := f.blocks.read(at, block)
		if err != nil {
			return damaged{err}
		}
		f.history.restore(m)
		f.last, before = before, at
	}
	log := tx.Bucket(logBucket)
	for _, part := range []struct {
		key  []byte
		into any
	}{{eventsKey, &f.events}, {actionsKey, &f.actions}} {
		if text := log.Get(part.key); text != nil {
			if err := json.Unmarshal(text, part.into); err != nil {
				return damaged{err}
			}
		}
	}
	return nil
}

// minuteKey returns the key of a time: keys are in the order of the times.
func minuteKey(at int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(max(at, 0))) // #nosec G115 -- not negative
}

// restore gives a Server what was in the file, before it polls.
func (f *HistoryFile) restore(s *Server) {
	s.poller.history = f.history
	s.poller.now.events = f.events
	s.log.kept = f.actions
}

// run writes once a minute until the Server has ended, and then for the last time. Nothing waits
// for it: it copies what is new, and writes the copy.
func (f *HistoryFile) run(ended <-chan struct{}, s *Server) {
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	for end := false; !end; {
		select {
		case <-tick.C:
		case <-ended:
			end = true
		}
		err := guarded(func() error { return f.write(s) })
		if err != nil && !f.failing && s.Trouble != nil {
			s.Trouble(fmt.Errorf("history %s: %w; rdy ui tries again every minute", f.path, err))
		}
		f.failing = err != nil
	}
}

// write writes what is new, and deletes what is older than a day.
func (f *HistoryFile) write(s *Server) error {
	minutes := s.poller.history.minutes(f.last, historyBatch)
	st, _ := s.poller.current()
	events, err := json.Marshal(st.events)
	if err != nil {
		return err
	}
	actions, err := json.Marshal(s.log.oldestFirst())
	if err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(minutesBucket)
		for _, m := range minutes {
			block, err := f.blocks.write(m)
			if err == nil {
				err = b.Put(minuteKey(m.at), block)
			}
			if err != nil {
				return err
			}
		}
		switch n := len(minutes); {
		case n > 1: // the last one still changes, and is written again
			f.last = minutes[n-2].at
		case n == 1: // it is earlier if the clock was set back
			f.last = min(f.last, minutes[0].at-1)
		}
		log := tx.Bucket(logBucket)
		for _, part := range []struct{ key, text []byte }{{eventsKey, events}, {actionsKey, actions}} {
			if bytes.Equal(log.Get(part.key), part.text) {
				continue
			}
			if err := log.Put(part.key, part.text); err != nil {
				return err
			}
		}
		return f.tidy(b)
	})
}

// tidy deletes minutes that are older than a day.
func (f *HistoryFile) tidy(b *bbolt.Bucket) error {
	oldest := minuteKey(f.last - coarsePoints*int64(coarseStep/time.Second))
	c := b.Cursor()
	for key, _ := c.First(); key != nil && bytes.Compare(key, oldest) < 0; key, _ = c.First() {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the file. Call it when the Server's Run has returned.
func (f *HistoryFile) Close() error { return guarded(f.db.Close) }
