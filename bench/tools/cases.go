package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

const (
	million = 1_000_000
	body    = 200 // bytes
)

// toolCase is what both tools of a comparison do.
type toolCase struct {
	name         string
	messages     int
	theirs, ours func(r room) []string // the command lines

	// arrived returns how many messages are where the tool has brought them.
	arrived func(ctx context.Context, s *stage, r room) (int64, error)
}

// room is what a run has for itself.
type room struct {
	topic string // of both nsqds; it has the channel "tools"
	nsqd  string // address of the nsqd with the messages
	to    string // address of the other one
	url   string // of the HTTP server
	taken int64  // requests that the HTTP server had before
	dir   string // empty directory
}

// Both tools have their defaults, unless a case is about a setting.
var cases = []toolCase{
	{
		"copy", million,
		func(r room) []string {
			return r.theirs("nsq_to_nsq", "--destination-nsqd-tcp-address", r.to, "--destination-topic", r.topic)
		},
		func(r room) []string { return r.ours("copy", "--to", r.to) },
		func(ctx context.Context, s *stage, r room) (int64, error) { return s.copied(ctx, r.topic) },
	},
	toFile("to-file"),
	toFile("to-file, gzip", "--gzip --gzip-level 6", "--compress gzip --compress-level 6"),
	toFile("to-file, 2,500 in flight", "--max-in-flight 2500", "--max-in-flight 2500"),
	toHTTP("to-http, 1 at a time", 1),
	toHTTP("to-http, 1 at a time, 200 in flight", 1, "--max-in-flight", "200"), // nsq_to_http's default
	toHTTP("to-http, 100 at a time", 100),
}

// toFile has settings for nsq_to_file and for rdy to-file, or none.
func toFile(name string, settings ...string) toolCase {
	settings = append(settings, "", "")
	return toolCase{
		name, million,
		func(r room) []string {
			return r.theirs("nsq_to_file", append(strings.Fields(settings[0]), "--output-dir", r.dir, "--work-dir", r.dir)...)
		},
		func(r room) []string {
			return r.ours("to-file", append(strings.Fields(settings[1]), "--output-dir", r.dir)...)
		},
		func(_ context.Context, _ *stage, r room) (int64, error) { return countLines(r.dir) },
	}
}

// toHTTP makes up to n requests at a time, with settings for rdy to-http.
func toHTTP(name string, n int, settings ...string) toolCase {
	atATime := fmt.Sprint(n)
	return toolCase{
		name, million / 10,
		func(r room) []string { return r.theirs("nsq_to_http", "--post", r.url, "-n", atATime) },
		func(r room) []string {
			return r.ours("to-http", append([]string{r.url, "--concurrency", atATime}, settings...)...)
		},
		func(_ context.Context, s *stage, r room) (int64, error) { return s.sink.taken() - r.taken, nil },
	}
}

func (r room) theirs(name string, args ...string) []string {
	return append([]string{name, "--topic", r.topic, "--channel", channel, "--nsqd-tcp-address", r.nsqd}, args...)
}

func (r room) ours(name string, args ...string) []string {
	return append([]string{"rdy", name, r.topic, "--channel", channel, "--nsqd", r.nsqd}, args...)
}

// countLines returns the number of lines in the files of a directory.
func countLines(dir string) (lines int64, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		n, fileErr := countFile(name)
		lines, err = lines+n, errors.Join(err, fileErr)
	}
	return lines, err
}

func countFile(name string) (lines int64, err error) {
	f, err := os.Open(name) // #nosec G304 -- a file of the tool
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var text io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			return 0, err
		}
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := text.Read(buf)
		lines += int64(bytes.Count(buf[:n], []byte("\n")))
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, fmt.Errorf("%s: %w", name, err)
		}
	}
}
