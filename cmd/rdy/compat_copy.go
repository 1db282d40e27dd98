package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// oldNSQToNSQ declares the flags of nsq_to_nsq.
func oldNSQToNSQ(f *flag.FlagSet) func() (*oldJob, error) {
	var from oldSource
	var topics, to, options, keep oldList
	from.declare(f, "nsq_to_nsq")
	f.Var(&topics, "topic", "topic to read (may be given multiple times)")
	f.Var(&to, "destination-nsqd-tcp-address", "TCP `address` of an nsqd that gets copies (may be given multiple times)")
	f.Var(&options, "producer-opt", "`option,value` of the producer (may be given multiple times)")
	f.Var(&keep, "whitelist-json-field", "copy only this field of JSON messages (may be given multiple times)")
	toTopic := f.String("destination-topic", "", "topic of the copies, by default that of the messages")
	field := f.String("require-json-field", "", "copy only JSON messages with this field")
	value := f.String("require-json-value", "", "copy only messages in which the field has this value")
	mode := f.String("mode", "hostpool", "hostpool, epsilon-greedy and round-robin: the nsqds take turns")
	every := f.Int("status-every", 250, "log figures after this many messages; 0 means never")
	return func() (*oldJob, error) {
		switch {
		case len(topics) == 0 || *from.channel == "":
			return nil, errors.New("--topic and --channel are required")
		case len(to) == 0:
			return nil, errors.New("--destination-nsqd-tcp-address is required")
		case *value != "" && *field == "":
			return nil, errors.New("--require-json-value needs --require-json-field")
		case !slices.Contains([]string{"hostpool", "epsilon-greedy", "round-robin"}, *mode):
			return nil, fmt.Errorf("--mode %s: want hostpool, epsilon-greedy or round-robin", *mode)
		}
		line := append([]string{"copy"}, topics...)
		if *toTopic != "" {
			line = append(line, "--to-topic", *toTopic)
		}
		if jq := oldFilter(*field, *value, keep); jq != "" {
			line = append(line, "--jq", jq)
		}
		line = append(line, "--status-every", strconv.Itoa(*every))
		line, err := appendAddrs(line, "--to", "destination-nsqd-tcp-address", to)
		if err != nil {
			return nil, err
		}
		if line, err = appendOptions(line, "--to-set", "producer-opt", options); err != nil {
			return nil, err
		}
		rest, err := from.line()
		return &oldJob{lines: [][]string{append(line, rest...)}}, err
	}
}

// oldFilter returns the jq expression that does what flags about JSON say, "" if there are
// none. A message without the field whose value is asked for is an error, as it is for
// nsq_to_nsq: it is kept.
func oldFilter(field, value string, keep []string) string {
	var steps []string
	if field != "" {
		name := jqString(field)
		has := "select(has(" + name + "))"
		if value != "" {
			is := ". == " + jqString(value)
			if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
				is += " or . == " + strconv.FormatFloat(n, 'g', -1, 64)
			}
			has = "if has(" + name + ") then select(.[" + name + "] | " + is + ") else error(\"no field \" + " + name + ") end"
		}
		steps = append(steps, has)
	}
	if len(keep) > 0 {
		var names []string
		for _, name := range keep {
			names = append(names, jqString(name))
		}
		steps = append(steps, "with_entries(select(.key | IN("+strings.Join(names, ", ")+")))")
	}
	return strings.Join(steps, " | ")
}

// jqString returns a string in the syntax of jq. A backslash before "(" would begin an
// expression, but JSON has no such escape.
func jqString(s string) string {
	text, _ := json.Marshal(s) // a string never fails
	return string(text)
}
