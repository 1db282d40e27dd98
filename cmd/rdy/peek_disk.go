package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/diskqueue"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// nsqdMeta is the file in which nsqd lists its topics. Every data directory has it.
const nsqdMeta = "nsqd.dat"

// readDisk prints the messages of a queue on disk, or lists the queues.
func (p *peek) readDisk(ctx context.Context) error {
	dir := os.DirFS(p.dataDir)
	if p.topic == "" {
		return p.listDisk(dir)
	}
	what := names{topic: p.topic, channel: p.channel}
	r, err := diskqueue.Open(dir, p.topic, p.channel)
	if errors.Is(err, diskqueue.ErrNotFound) {
		return fmt.Errorf("%s has no disk queue in %s; rdy peek --data-dir lists the queues", what, p.dataDir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.dataDir, err)
	}
	printed, err := p.printDisk(ctx, r)
	if err == nil && printed == 0 && ctx.Err() == nil {
		p.notice("rdy: no message of %s is on disk; messages in nsqd's memory are not there", what)
	}
	if err == nil && r.Skipped() {
		p.notice("rdy: nsqd has deleted a file meanwhile; its messages are missing here")
	}
	if err == nil && r.Torn() > 0 {
		p.notice("rdy: the last %d bytes are not a whole message: nsqd is writing it, or stopped while writing", r.Torn())
	}
	return errors.Join(err, r.Close())
}

// printDisk prints the messages of a queue, and returns how many there were to print.
func (p *peek) printDisk(ctx context.Context, r *diskqueue.Reader) (n int, err error) {
	out := p.printer()
	for ctx.Err() == nil && (p.count == 0 || n < p.count) {
		read, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", p.dataDir, err)
		}
		m := nsq.NewMessage(read.ID, read.Body)
		m.Timestamp, m.Attempts = read.Timestamp, read.Attempts
		printed, done, err := out.print(m)
		if printed {
			n++
		}
		if done || err != nil {
			return n, err
		}
	}
	return n, nil
}

// peekQueues is what "rdy peek --data-dir --json" prints without a topic.
type peekQueues struct {
	Queues []peekQueue `json:"queues"` // by topic and channel
}

type peekQueue struct {
	Topic    string `json:"topic"`
	Channel  string `json:"channel,omitempty"` // empty for the queue of the topic
	Depth    *int64 `json:"depth"`             // nil without a meta file
	Bytes    int64  `json:"bytes"`
	BadFiles int    `json:"bad_files"`
	Error    string `json:"error,omitempty"`
}

// listDisk lists the queues.
func (p *peek) listDisk(dir fs.FS) error {
	found, err := diskqueue.List(dir)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err // it names "." only
		}
		return fmt.Errorf("--data-dir %s: %w", p.dataDir, err)
	}
	if len(found) == 0 {
		if _, err := fs.Stat(dir, nsqdMeta); err != nil {
			return fmt.Errorf("%s has no disk queue and no %s: it is not the --data-path of an nsqd", p.dataDir, nsqdMeta)
		}
	}
	list := &peekQueues{Queues: []peekQueue{}}
	var failed []error
	for _, q := range found {
		row := peekQueue{Topic: q.Topic, Channel: q.Channel, Bytes: q.Bytes, BadFiles: q.BadFiles}
		if q.Depth >= 0 {
			row.Depth = &q.Depth
		}
		if q.Err != nil {
			row.Error = q.Err.Error()
			failed = append(failed, q.Err)
		}
		list.Queues = append(list.Queues, row)
	}
	p.notice("rdy: these are the messages on disk, without those in the memory of a running nsqd")
	return errors.Join(append([]error{p.print(list, list.table)}, failed...)...)
}

// table returns the list as text for people.
func (l *peekQueues) table() []byte {
	rows := [][]string{{"topic", "channel", "on disk", "bytes", "bad files"}}
	for _, q := range l.Queues {
		row := []string{q.Topic, q.Channel, noFigure, figures.Count(q.Bytes), figures.Count(int64(q.BadFiles))}
		if q.Channel == "" {
			row[1] = noFigure
		}
		if q.Depth != nil {
			row[2] = figures.Count(*q.Depth)
		}
		rows = append(rows, row)
	}
	var out bytes.Buffer
	align(&out, 2, rows)
	return out.Bytes()
}
