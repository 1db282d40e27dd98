package main

import (
	"bytes"
	_ "embed"
	"text/template"
)

// pictureTemplate is the picture as SVG. A plotting library would load its fonts in each
// process that is measured, since all are this program.
//
//go:embed picture.svg.tmpl
var pictureTemplate string

// Measures of the picture, in its own units.
const (
	rowHeight   = 46
	rowsTop     = 70 // where the first row begins
	panelLength = 270
)

// panel is one of the two charts of the picture.
type panel struct {
	X     int // of the bars' beginning
	Title string
	Rows  []bars
}

// bars are a row of a panel: a bar for each client, and what is written at its end.
type bars struct {
	Y             int
	Theirs, Ours  int // lengths
	Their, Our    string
	Title, Server string
}

// drawHeadlines draws the headlines: beside each other the throughput and the CPU per
// message, both relative to go-nsq.
func drawHeadlines(measurements []measurement) ([]byte, error) {
	all := headlinesOf(measurements)
	most := 1.0
	for _, h := range all {
		most = max(most, h.Gain())
	}
	// A bar of CPU is longer than go-nsq's only if this client is the worse one.
	mostCPU := 1.0
	for _, h := range all {
		mostCPU = max(mostCPU, 1/h.Saving())
	}
	throughput := panel{X: 250, Title: "Messages a second"}
	cpu := panel{X: 660, Title: "CPU per message"}
	for i, h := range all {
		row := bars{Y: rowsTop + i*rowHeight, Title: h.Title, Server: h.Server}
		row.Theirs, row.Ours = length(1/most), length(h.Gain()/most)
		row.Their, row.Our = thousands(h.TheirRate), thousands(h.OurRate)+" · "+short(h.Gain())+" ×"
		throughput.Rows = append(throughput.Rows, row)
		row.Theirs, row.Ours = length(1/mostCPU), length(1/h.Saving()/mostCPU)
		row.Their, row.Our = short(h.TheirCPU)+" µs", short(h.OurCPU)+" µs · 1/"+short(h.Saving())
		cpu.Rows = append(cpu.Rows, row)
	}
	picture, err := template.New("").Parse(pictureTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = picture.Execute(&out, map[string]any{
		"Panels": []panel{throughput, cpu}, "Height": rowsTop + len(all)*rowHeight + 10,
	})
	return out.Bytes(), err
}

// length returns the length of a bar, which is the given part of a panel.
func length(part float64) int { return max(int(part*panelLength+0.5), 1) }
