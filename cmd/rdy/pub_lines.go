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
)

const (
	chunkSize = 64 << 10 // of an array that lines are read into; what a pipe holds
	leastRead = 4 << 10  // room for a read

	// groupsAhead is how many groups of lines are read ahead of publishing. The
	// rest stays in the pipe, so that the next read gets more at a time.
	groupsAhead = 4
)

// position is where a line is.
type position struct {
	file   string // as it was given
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
	body []byte // nil if it was longer than allowed
}

// splitter splits an input into lines.
type splitter struct {
	r         io.Reader
	delimiter []byte
	longest   int // that a line may be
	at        position

	data    []byte // that was read and not split
	seen    int    // so much of data is part of the next line
	tooLong bool   // the next line is; what was seen of it is gone
}

// next returns lines that have been read, at least one, with the bytes that it
// took. The last ones come with the error that ends the input, which may be
// io.EOF. It waits only if no whole line is there.
func (s *splitter) next() (lines []line, read int64, err error) {
	for len(lines) == 0 && err == nil {
		s.makeRoom()
		var n int
		n, err = s.r.Read(s.data[len(s.data):cap(s.data)])
		s.data = s.data[:len(s.data)+n]
		read += int64(n)
		lines = s.split(lines)
	}
	if errors.Is(err, io.EOF) && (len(s.data) > 0 || s.tooLong) {
		lines = append(lines, s.cut(len(s.data), len(s.data)))
	}
	return lines, read, err
}

// makeRoom takes a new array if there is little room left. The lines that were
// read keep the old one.
func (s *splitter) makeRoom() {
	if cap(s.data)-len(s.data) < leastRead {
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
		lines = append(lines, s.cut(end, end+len(s.delimiter)))
	}
	// What is at the end may be the beginning of a delimiter.
	s.seen = max(s.seen, len(s.data)-len(s.delimiter)+1)
	if s.seen > s.longest || s.tooLong {
		s.tooLong = true
		s.data, s.seen = s.data[s.seen:], 0
	}
	return lines
}

// cut takes a line off the data: those bytes up to end, and the ones up to next.
func (s *splitter) cut(end, next int) line {
	s.at.number++
	l := line{at: s.at}
	if !s.tooLong && end <= s.longest {
		l.body = s.data[:end:end]
	}
	s.data, s.seen, s.tooLong = s.data[next:], 0, false
	return l
}

// input is what lines are read from, by a goroutine.
type input struct {
	lines chan []line // is closed at the end
	err   error       // why not everything was read; once lines is closed

	interrupt func() bool // makes a read that waits return, or reports that it cannot
}

// read begins to read all files. It ends early when ctx ends.
func (p *pub) read(ctx context.Context) *input {
	in := &input{lines: make(chan []line, groupsAhead), interrupt: p.interruptStdin}
	go func() {
		defer close(in.lines)
		in.err = p.readFiles(ctx, in.lines)
	}()
	return in
}

// interruptStdin makes a read of standard input return, if that can be done.
func (p *pub) interruptStdin() bool {
	f, ok := p.stdin.(*os.File)
	return ok && f.SetReadDeadline(time.Now()) == nil
}

// end waits for the reading to end, which was told to, and returns why not
// everything was read. A read of a terminal, or of a pipe that came as one that
// blocks, cannot be ended: the process takes it along.
func (in *input) end() error {
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
	for range in.lines { // nobody publishes these any more
	}
	return in.err
}

func (p *pub) readFiles(ctx context.Context, to chan<- []line) error {
	for _, name := range p.files {
		if err := p.readFile(ctx, name, to); err != nil {
			if ctx.Err() != nil {
				return nil // that is why, and said otherwise
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
		lines = p.publishable(lines, read)
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

// publishable returns the lines that can be published, in the same array, and
// counts the others.
func (p *pub) publishable(lines []line, read int64) []line {
	good := lines[:0]
	skipped := 0
	for _, l := range lines {
		switch {
		case l.body == nil:
			p.tally.reject(l.at, fmt.Sprintf("longer than %d bytes", p.maxMsgSize))
		case len(l.body) == 0:
			skipped++
		case p.jsonLines && !json.Valid(l.body):
			p.tally.reject(l.at, "not valid JSON")
		default:
			good = append(good, l)
		}
	}
	p.tally.readMore(read, skipped)
	return good
}
