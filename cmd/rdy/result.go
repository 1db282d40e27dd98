package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// demoResult is the result of a demo, as --json prints it.
type demoResult struct {
	Found      int       `json:"found"`     // on the nsqds, from earlier demos
	Published  int       `json:"published"` // includes those found
	Handled    int       `json:"handled"`
	Requeued   int       `json:"requeued"`
	Duplicates int       `json:"duplicates"`
	Lost       int       `json:"lost"`
	Left       int       `json:"left"`    // still on the nsqds after a demo that was cut short
	Seconds    float64   `json:"seconds"` // from the first publish to the last handled message
	Rate       float64   `json:"rate"`    // handled messages per second
	Connection string    `json:"connection"`
	NSQDs      []account `json:"nsqds"`
}

// table returns the result as text for people.
func (r *demoResult) table() []byte {
	var out bytes.Buffer
	var rows [][]string
	if r.Found > 0 {
		rows = append(rows, []string{"found", strconv.Itoa(r.Found)})
	}
	rows = append(rows, [][]string{
		{"published", strconv.Itoa(r.Published)},
		{"handled", strconv.Itoa(r.Handled)},
		{"requeued", strconv.Itoa(r.Requeued)},
		{"duplicates", strconv.Itoa(r.Duplicates)},
		{"lost", strconv.Itoa(r.Lost)},
	}...)
	if r.Left > 0 {
		rows = append(rows, []string{"left", strconv.Itoa(r.Left)})
	}
	rows = append(rows,
		[]string{"seconds", fmt.Sprintf("%.2f", r.Seconds)},
		[]string{"messages/s", fmt.Sprintf("%.0f", r.Rate)})
	align(&out, 1, rows)
	fmt.Fprintf(&out, "connection  %s\n", r.Connection)

	rows = [][]string{{"nsqd", "published", "handled", "requeued"}}
	for _, n := range r.NSQDs {
		rows = append(rows, []string{n.Address, strconv.Itoa(n.Published), strconv.Itoa(n.Handled), strconv.Itoa(n.Requeued)})
	}
	out.WriteByte('\n')
	align(&out, 1, rows)
	return out.Bytes()
}
