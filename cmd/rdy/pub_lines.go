package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	chunkSize = 64 << 10 // smallest read buffer; a pipe holds as much
	minRead   = 4 << 10  // least room in the buffer for a read

	// groupsAhead is how many groups of lines are read ahead of publishing. The
	// rest stays in the pipe, where it gathers into larger reads.
	groupsAhead = 4
)

// position is the place of a line in the input.
type position struct {
	file   string // as given on the command line
	number int    // from 1
}

func (p position) String() string {
	if p.file == stdinName {
		return fmt.Sprintf("line %d", p.number)
	}
	return fmt.Sprintf("%s, line %d", p.file, p.number)
}

// line is a line of the input without its delimiter.
type line struct {
	at   position
	body []byte // nil if the line was too long
}

// splitter splits an input into lines.
type splitter struct {
	r         io.Reader
	delimiter []byte
	longest   int      // allowed length of a line
	at        position // of the last line returned

	data    []byte // read, but not split yet
	seen    int    // length of the prefix of data that contains no delimiter
	tooLong bool   // the next line is too long; its beginning has been dropped
}

// next returns the next lines, at least one unless the input ends, and the number
// of bytes it read for them. It waits only while it has no whole line. An error,
// which may be io.EOF, ends the input; the lines returned with it are valid.
func (s *splitter) next() (lines []line, read int64, err error) {
	for len(lines) == 0 && err == nil {
		s.growBuffer()
		var n int
		n, err = s.r.Read(s.data[len(s.data):cap(s.data)])
		s.data = s.data[:len(s.data)+n]
		read += int64(n)
		lines = s.split(lines)
	}
	if errors.Is(err, io.EOF) && (len(s.data) > 0 || s.tooLong) {
		lines = append(lines, s.cutLine(len(s.data), len(s.data)))
	}
	return lines, read, err
}

// growBuffer moves the data to a new buffer if little room is left. Lines
// returned earlier keep the old one.
func (s *splitter) growBuffer() {
	if cap(s.data)-len(s.data) < minRead {
		s.data = append(make([]byte, 0, max(chunkSize, 2*len(s.data))), s.data...)
	}
}

func (s *splitter) split(lines []line) []line {
	for {
		i := bytes.Index(s.data[s.seen:], s.delimiter)
		if i < 0 {
			break
		}
		end := s.seen + i
		lines = append(lines, s.cutLine(end, end+len(s.delimiter)))
	}
	// The last bytes may be the beginning of a delimiter.
	s.seen = max(s.seen, len(s.data)-len(s.delimiter)+1)
	if s.seen > s.longest || s.tooLong {
		s.tooLong = true
		s.data, s.seen = s.data[s.seen:], 0
	}
	return lines
}

// cutLine removes a line from the data. The line ends before end, its delimiter
// before next.
func (s *splitter) cutLine(end, next int) line {
	s.at.number++
	l := line{at: s.at}
	if !s.tooLong && end <= s.longest {
		l.body = s.data[:end:end]
	}
	s.data, s.seen, s.tooLong = s.data[next:], 0, false
	return l
}

// input is a goroutine that reads lines.
type input struct {
	lines chan []line // closed when reading ends
	err   error       // why reading ended early; valid once lines is closed

	interrupt func() bool // makes a blocked read return; reports whether it can
}

// startReading starts to read all files. Reading ends early when ctx ends.
func (p *pub) startReading(ctx context.Context) *input {
	in := &input{lines: make(chan []line, groupsAhead), interrupt: p.interruptStdin}
	go func() {
		defer close(in.lines)
		in.err = p.readFiles(ctx, in.lines)
	}()
	return in
}

// interruptStdin makes a blocked read of standard input return. It reports false
// if that is impossible.
func (p *pub) interruptStdin() bool {
	f, ok := p.stdin.(*os.File)
	return ok && f.SetReadDeadline(time.Now()) == nil
}

// stop waits until reading has ended, and returns why it ended early. The caller
// has cancelled the context. A read of a terminal, or of a pipe that was
// inherited in blocking mode, cannot be interrupted: stop does not wait for it,
// and the goroutine ends with the process.
func (in *input) stop() error {
	if !in.interrupt() {
		select {
		case _, more := <-in.lines:
			if !more {
				return in.err
			}
		default:
		}
		return nil
	}
	for range in.lines { // discard: these lines are not published any more
	}
	return in.err
}

func (p *pub) readFiles(ctx context.Context, to chan<- []line) error {
	for _, name := range p.files {
		if err := p.readFile(ctx, name, to); err != nil {
			if ctx.Err() != nil {
				return nil // the sender reports the interruption
			}
			return err
		}
	}
	return nil
}

func (p *pub) readFile(ctx context.Context, name string, to chan<- []line) error {
	r := p.stdin
	if name != stdinName {
		f, err := os.Open(name) // #nosec G304 -- the user's choice
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	s := splitter{r: r, delimiter: p.delimiter, longest: p.maxMsgSize, at: position{file: name}}
	for {
		lines, read, err := s.next()
		lines = p.rejectUnpublishable(lines, read)
		if len(lines) > 0 {
			select {
			case to <- lines:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %v: %w", s.at, err)
		}
	}
}

// rejectUnpublishable returns the lines that can be published, in the same array,
// and counts the others as failed or skipped.
func (p *pub) rejectUnpublishable(lines []line, read int64) []line {
	good := lines[:0]
	skipped := 0
	for _, l := range lines {
		switch {
		case l.body == nil:
			p.tally.reject(l.at, "longer than "+figures.Things(p.maxMsgSize, "byte"))
		case len(l.body) == 0:
			skipped++
		case p.jsonLines && !json.Valid(l.body):
			p.tally.reject(l.at, "not valid JSON")
		default:
			good = append(good, l)
		}
	}
	p.tally.addRead(read, skipped)
	return good
}
