package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldFileFlags are the flags of nsq_to_file.
type oldFileFlags struct {
	from                       oldSource
	topics                     oldList
	pattern, outputDir         *string
	workDir, filename          *string
	datetime, host, level      *string
	gzip, skipEmpty            *bool
	gzipLevel                  *int
	rotateSize                 *int64
	rotateInterval, sync       *time.Duration
	refresh, connect, response *time.Duration
}

const (
	oldTopicRefresh = time.Minute
	maxOldRefresh   = 5 * time.Minute // the library's limit
)

// oldToFile declares the flags of nsq_to_file.
func oldToFile(f *flag.FlagSet) func() (*oldJob, error) {
	var o oldFileFlags
	o.from.declare(f, "nsq_to_file")
	f.Var(&o.topics, "topic", "topic to read (may be given multiple times)")
	o.pattern = f.String("topic-pattern", "", "read topics that match: those of --topic, or without it those of nsqlookupds")
	o.outputDir = f.String("output-dir", "/tmp", "directory for the files")
	o.workDir = f.String("work-dir", "", "directory for files in progress")
	o.filename = f.String("filename-format", "<TOPIC>.<HOST><REV>.<DATETIME>.log", "name of the files")
	o.datetime = f.String("datetime-format", "%Y-%m-%d_%H", "what <DATETIME> stands for, with escapes of strftime")
	o.host = f.String("host-identifier", "", "what <HOST> stands for; <SHORT_HOST> and <HOSTNAME> in it are replaced")
	o.gzip = f.Bool("gzip", false, "compress the files")
	o.gzipLevel = f.Int("gzip-level", 6, "level of compression, 1 to 9")
	o.skipEmpty = f.Bool("skip-empty-files", false, "create no file without messages")
	o.rotateSize = f.Int64("rotate-size", 0, "begin a new file after this many bytes; 0 means never")
	o.rotateInterval = f.Duration("rotate-interval", 0, "begin a new file after this time; 0 means never")
	o.sync = f.Duration("sync-interval", 30*time.Second, "longest time until a message is synced to disk")
	o.refresh = f.Duration("topic-refresh", oldTopicRefresh, "how often to ask nsqlookupds for topics")
	o.connect = f.Duration("http-client-connect-timeout", 2*time.Second, "no effect: http-client-request-timeout includes connecting")
	o.response = f.Duration("http-client-request-timeout", 5*time.Second, "how long an nsqlookupd may take")
	o.level = f.String("log-level", "info", "lowest level to log: debug, info, warn, error or fatal")
	f.String("log-prefix", "", "no effect")
	return func() (*oldJob, error) {
		if err := o.check(); err != nil {
			return nil, err
		}
		line, notes := o.files()
		if *o.refresh != oldTopicRefresh {
			line = append(line, "--set", "lookupd_poll_interval,"+min(*o.refresh, maxOldRefresh).String())
		}
		line = append(line, "--set", "lookupd_poll_timeout,"+o.response.String())
		rest, err := o.from.line()
		return &oldJob{lines: [][]string{append(line, rest...)}, notes: notes}, err
	}
}

// check returns an error if flags do not fit together, and leaves the topics that match.
func (o *oldFileFlags) check() error {
	pattern, err := regexp.Compile(*o.pattern)
	switch {
	case err != nil:
		return fmt.Errorf("--topic-pattern: %w", err)
	case *o.from.channel == "":
		return errors.New("--channel is required")
	case len(o.topics) == 0 && *o.pattern == "":
		return errors.New("--topic or --topic-pattern is required")
	case len(o.topics) == 0 && len(o.from.lookupds) == 0:
		return errors.New("--topic-pattern without --topic needs --lookupd-http-address")
	case *o.gzipLevel < 1 || *o.gzipLevel > 9:
		return fmt.Errorf("--gzip-level %d: want 1 to 9", *o.gzipLevel)
	case *o.connect <= 0 || *o.response <= 0:
		return errors.New("--http-client-connect-timeout and --http-client-request-timeout should be positive")
	case *o.refresh <= 0:
		return errors.New("--topic-refresh should be positive")
	case o.revises() && !strings.Contains(*o.filename, revision):
		return errors.New("missing <REV> in --filename-format, which --gzip, rotation and --work-dir need")
	case len(o.topics) == 0:
		return nil
	}
	o.topics = slices.DeleteFunc(o.topics, func(topic string) bool { return !pattern.MatchString(topic) })
	if len(o.topics) == 0 {
		return errors.New("no --topic matches --topic-pattern")
	}
	*o.pattern = ""
	return nil
}

// revises reports whether the names of files have a number.
func (o *oldFileFlags) revises() bool {
	return *o.gzip || *o.rotateSize > 0 || *o.rotateInterval > 0 || o.moves()
}

// moves reports whether complete files are moved.
func (o *oldFileFlags) moves() bool { return *o.workDir != "" && *o.workDir != *o.outputDir }

// files returns the arguments and flags of rdy, without those of the source.
func (o *oldFileFlags) files() (line, notes []string) {
	line = append([]string{"to-file"}, o.topics...)
	line = append(line, "--output-dir", *o.outputDir, "--filename", o.name(), "--log-level", o.logLevel())
	if *o.pattern != "" {
		line = append(line, "--topic-pattern", *o.pattern)
	}
	if o.moves() {
		line = append(line, "--work-dir", *o.workDir)
	}
	if *o.gzip {
		line = append(line, "--compress", compressGzip, "--compress-level", strconv.Itoa(*o.gzipLevel))
	}
	if *o.rotateSize > 0 {
		line = append(line, "--rotate-size", strconv.FormatInt(*o.rotateSize, 10))
	}
	if *o.rotateInterval > 0 {
		line = append(line, "--rotate-interval", o.rotateInterval.String())
	}
	if !*o.gzip && *o.rotateInterval <= 0 && !o.moves() {
		line = append(line, "--append")
	}
	if !*o.skipEmpty {
		line = append(line, "--empty-files")
	}
	sync := *o.sync
	if sync > maxSyncInterval {
		notes = append(notes, fmt.Sprintf("--sync-interval is lowered to %v, so that nsqd does not time the messages out", maxSyncInterval))
		sync = maxSyncInterval
	}
	return append(line, "--sync-interval", sync.String()), notes
}

// name returns the name of files as to-file takes it.
func (o *oldFileFlags) name() string {
	host := "<HOST>"
	if *o.host != "" {
		host = strings.ReplaceAll(literal(*o.host), "<SHORT_HOST>", "<HOST>")
	}
	name := strings.TrimLeft(literal(*o.filename), "/") // it is in the output directory anyway
	if !o.revises() {
		name = strings.ReplaceAll(name, revision, "")
	}
	name = strings.ReplaceAll(name, "<HOST>", host)
	return strings.ReplaceAll(name, "<DATETIME>", oldDatetime(*o.datetime))
}

func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// oldDatetime returns a format for package strftime. nsq_to_file leaves escapes alone that it
// does not know.
func oldDatetime(format string) string {
	const known = "aAbBdHImMpSyYzZ%"
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		switch {
		case format[i] != '%':
			out.WriteByte(format[i])
		case i+1 < len(format) && strings.IndexByte(known, format[i+1]) >= 0:
			out.WriteString(format[i : i+2])
			i++
		default:
			out.WriteString("%%")
		}
	}
	return out.String()
}

// logLevel returns the level of to-file, which has no "fatal".
func (o *oldFileFlags) logLevel() string {
	level := strings.ToLower(*o.level)
	if level == "fatal" {
		return "error"
	}
	return level
}
