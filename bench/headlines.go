package main

import (
	"fmt"
	"io"
)

// headlines are the cases that a newcomer sees first.
var headlines = []struct{ title, server, of string }{
	{"Consume one message at a time", "fake", "consume fake 200B mif=1 x1"},
	{"Consume, 100 in flight", "fake", "consume fake 200B mif=100 x4"},
	{"Consume, 2,500 in flight", "fake", "consume fake 200B mif=2500 x4"},
	{"Consume from 100 nsqds", "fake", "consume fake 200B mif=2500 x4 conns=100"},
	{"Consume, 2,500 in flight", "nsqd", "consume nsqd 200B mif=2500 x4"},
	{"Publish, 64 goroutines", "nsqd", "publish nsqd sync 200B x64"},
}

// headline holds the figures of go-nsq and of this client in a case.
type headline struct {
	Title, Server      string
	TheirRate, OurRate float64
	TheirCPU, OurCPU   float64 // µs per message
}

// Gain returns this client's rate divided by go-nsq's.
func (h headline) Gain() float64 { return h.OurRate / h.TheirRate }

// Saving returns go-nsq's CPU per message divided by this client's.
func (h headline) Saving() float64 { return h.TheirCPU / h.OurCPU }

// headlinesOf returns the headlines that have been measured.
func headlinesOf(measurements []measurement) (all []headline) {
	for _, h := range headlines {
		theirs, ours := runsOf(measurements, h.of, goNSQ), runsOf(measurements, h.of, rdy)
		if len(theirs) == 0 || len(ours) == 0 {
			continue
		}
		all = append(all, headline{
			h.title, h.server, median(theirs, rate), median(ours, rate), median(theirs, cpuPerMessage), median(ours, cpuPerMessage),
		})
	}
	return all
}

// writeHeadlines prints the table for newcomers.
func writeHeadlines(w io.Writer, measurements []measurement) {
	_, _ = fmt.Fprint(w, "| messages of 200 bytes | server | go-nsq, messages a second | this client | | go-nsq, CPU µs a message | this client | |\n"+
		"|---|---|---|---|---|---|---|---|\n")
	for _, h := range headlinesOf(measurements) {
		_, _ = fmt.Fprintf(w, "| %s | %s | %s | %s | **%s ×** | %s | %s | **1/%s** |\n", h.Title, h.Server,
			thousands(h.TheirRate), thousands(h.OurRate), short(h.Gain()), short(h.TheirCPU), short(h.OurCPU), short(h.Saving()))
	}
}
