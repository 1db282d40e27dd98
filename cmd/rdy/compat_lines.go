package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// oldTail declares the flags of nsq_tail.
func oldTail(f *flag.FlagSet) func() (*oldJob, error) {
	var from oldSource
	var topics oldList
	from.declare(f, "")
	f.Var(&topics, "topic", "topic to read (may be given multiple times)")
	count := f.Int("n", 0, "end after this many messages of a topic; 0 means never")
	printTopic := f.Bool("print-topic", false, "print the topic before each message")
	return func() (*oldJob, error) {
		if len(topics) == 0 {
			return nil, errors.New("--topic is required")
		}
		rest, err := from.line()
		if err != nil {
			return nil, err
		}
		if *count > 0 {
			rest = append(rest, "-n", strconv.Itoa(*count))
		}
		if *printTopic {
			rest = append(rest, "--print-topic")
		}
		job := &oldJob{}
		for _, topic := range topics {
			job.lines = append(job.lines, append([]string{"tail", topic}, rest...))
		}
		return job, nil
	}
}

// oldToNSQ declares the flags of to_nsq.
func oldToNSQ(f *flag.FlagSet) func() (*oldJob, error) {
	var nsqds, options oldList
	f.Var(&nsqds, "nsqd-tcp-address", "TCP `address` of an nsqd; each gets all messages (may be given multiple times)")
	f.Var(&options, "producer-opt", "`option,value` of the producer (may be given multiple times)")
	topic := f.String("topic", "", "topic to publish to")
	delimiter := f.String("delimiter", "\n", "byte that ends a message")
	rate := f.Int64("rate", 0, "maximum messages per second; 0 means no limit")
	return func() (*oldJob, error) {
		switch {
		case *topic == "":
			return nil, errors.New("--topic is required")
		case len(nsqds) == 0:
			return nil, errors.New("--nsqd-tcp-address is required")
		case len(*delimiter) != 1:
			return nil, errors.New("--delimiter must be a single byte")
		}
		line := []string{"pub", "--topic", *topic, "--mode", modeAll, "--quiet"}
		if *delimiter != "\n" {
			line = append(line, "--delimiter", strings.ReplaceAll(*delimiter, `\`, `\\`))
		}
		if *rate > 0 {
			line = append(line, "--rate", strconv.FormatInt(*rate, 10))
		}
		line, err := appendAddrs(line, "--nsqd", "nsqd-tcp-address", nsqds)
		if err != nil {
			return nil, err
		}
		line, err = appendOptions(line, "--set", "producer-opt", options)
		return &oldJob{lines: [][]string{line}}, err
	}
}

const oldContentType = "application/octet-stream"

// oldHTTPFlags are the flags that only nsq_to_http has.
type oldHTTPFlags struct {
	from               oldSource
	posts, gets, heads oldList
	topic, mode, kind  *string
	workers, every     *int
	sample             *float64
}

// oldToHTTP declares the flags of nsq_to_http.
func oldToHTTP(f *flag.FlagSet) func() (*oldJob, error) {
	var h oldHTTPFlags
	h.from.declare(f, "nsq_to_http")
	f.Var(&h.posts, "post", "`URL` to POST messages to (may be given multiple times)")
	f.Var(&h.gets, "get", "`URL` to GET, in which %s stands for the message (may be given multiple times)")
	f.Var(&h.heads, "header", "header, `Name: value` (may be given multiple times)")
	h.topic = f.String("topic", "", "topic to read")
	h.mode = f.String("mode", "hostpool", "which URL gets a message: hostpool, epsilon-greedy, round-robin or all")
	h.kind = f.String("content-type", oldContentType, "Content-Type of POST requests")
	h.workers = f.Int("n", 100, "maximum requests at a time")
	h.every = f.Int("status-every", 250, "log figures after this many messages; 0 means never")
	h.sample = f.Float64("sample", 1, "share of the messages to send")
	connect := f.Duration("http-client-connect-timeout", 2*time.Second, "how long connecting may take")
	request := f.Duration("http-client-request-timeout", 20*time.Second, "how long a request may take")
	return func() (*oldJob, error) {
		line, err := h.line()
		if err != nil {
			return nil, err
		}
		line = append(line, "--connect-timeout", connect.String(), "--timeout", request.String())
		// The delays of go-nsq, which options may change.
		line = append(line, "--set", "default_requeue_delay,90s", "--set", "max_requeue_delay,15m")
		job := &oldJob{}
		var options []string
		for _, option := range h.from.options {
			if name, value := cutName(option); strings.ReplaceAll(name, "-", "_") == "max_attempts" {
				if value != ",0" {
					job.notes = append(job.notes, "--consumer-opt max_attempts has no effect: rdy drops no message")
				}
				continue
			}
			options = append(options, option)
		}
		h.from.options = options
		rest, err := h.from.line()
		job.lines = [][]string{append(line, rest...)}
		return job, err
	}
}

// line returns the arguments and flags of rdy, without those of the source.
func (h *oldHTTPFlags) line() ([]string, error) {
	switch {
	case *h.topic == "" || *h.from.channel == "":
		return nil, errors.New("--topic and --channel are required")
	case len(h.posts)+len(h.gets) == 0:
		return nil, errors.New("--get or --post is required")
	case len(h.gets) > 0 && *h.kind != oldContentType:
		return nil, errors.New("--content-type needs --post")
	case len(h.posts) > 0 && len(h.gets) > 0:
		return nil, errors.New("--get and --post exclude each other")
	}
	line := append([]string{"to-http", *h.topic}, h.posts...)
	for _, url := range h.gets {
		if strings.Count(url, "%s") != 1 {
			return nil, errors.New("--get: want a URL with one %s, which stands for the message")
		}
		line = append(line, strings.NewReplacer("%s", "{{.Body}}", "%%", "%").Replace(url))
	}
	modes := map[string]string{
		"hostpool": modeLeastFailing, "epsilon-greedy": modeLeastFailing, "round-robin": modeRoundRobin, "all": modeAll,
	}
	mode, ok := modes[*h.mode]
	if !ok {
		return nil, fmt.Errorf("--mode %s: want hostpool, epsilon-greedy, round-robin, or all for all URLs", *h.mode)
	}
	line = append(line, "--mode", mode, "--attributes=false", "--concurrency", strconv.Itoa(*h.workers),
		"--sample", fmt.Sprint(*h.sample), "--status-every", strconv.Itoa(*h.every))
	if len(h.gets) > 0 {
		line = append(line, "--method", "GET")
	} else {
		line = append(line, "--content-type", *h.kind)
	}
	for i, header := range h.heads {
		if !repeated(header, h.heads[i+1:]) {
			line = append(line, "--header", header)
		}
	}
	return line, nil
}

// repeated reports whether a header comes again, which replaces it.
func repeated(header string, later []string) bool {
	name, _, _ := strings.Cut(header, ":")
	for _, other := range later {
		if next, _, _ := strings.Cut(other, ":"); strings.EqualFold(strings.TrimSpace(next), strings.TrimSpace(name)) {
			return true
		}
	}
	return false
}
