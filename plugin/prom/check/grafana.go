package main

import (
	"encoding/json"
	"fmt"
)

// A dashboard is what Grafana 11 imports. Only what differs from its defaults is written.
type dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Refresh       string     `json:"refresh"`
	Time          timeRange  `json:"time"`
	Templating    templating `json:"templating"`
	Panels        []panel    `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

type variable struct {
	Name       string      `json:"name"`
	Type       string      `json:"type"`
	Datasource *datasource `json:"datasource,omitempty"`
	Query      any         `json:"query"`
	Refresh    int         `json:"refresh,omitempty"` // 2: when the time range changes
	Sort       int         `json:"sort,omitempty"`    // 1: by name
	Multi      bool        `json:"multi,omitempty"`
	IncludeAll bool        `json:"includeAll,omitempty"`
	AllValue   string      `json:"allValue,omitempty"`
	Current    *current    `json:"current,omitempty"`
}

type current struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     gridPos      `json:"gridPos"`
	Datasource  *datasource  `json:"datasource,omitempty"`
	FieldConfig *fieldConfig `json:"fieldConfig,omitempty"`
	Targets     []target     `json:"targets,omitempty"`
}

type gridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

type fieldConfig struct {
	Defaults struct {
		Unit string `json:"unit"`
		Min  int    `json:"min"`
	} `json:"defaults"`
	Overrides []any `json:"overrides"`
}

type target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// graph describes a panel that plots queries over time.
type graph struct {
	title, answers string // answers: the question that the panel answers, and how to read it
	unit           string // of Grafana
	queries        []query
}

type query struct{ expr, legend string }

// row is a titled group of graphs.
type row struct {
	title  string
	graphs []graph
}

var prometheusSource = &datasource{Type: "prometheus", UID: "${datasource}"}

const (
	gridWidth   = 24
	graphWidth  = 8
	graphHeight = 8
)

// build lays out rows, three graphs side by side.
func build(uid, title, description string, variables []variable, rows []row) dashboard {
	d := dashboard{
		UID: uid, Title: title, Description: description, Tags: []string{"nsq"},
		SchemaVersion: 39, Refresh: "30s", Time: timeRange{"now-1h", "now"},
		Templating: templating{append([]variable{{Name: "datasource", Type: "datasource", Query: "prometheus"}}, variables...)},
	}
	y := 0
	for _, r := range rows {
		d.Panels = append(d.Panels, panel{ID: len(d.Panels) + 1, Type: "row", Title: r.title, GridPos: gridPos{0, y, gridWidth, 1}})
		y++
		for i, g := range r.graphs {
			at := gridPos{i * graphWidth % gridWidth, y + i*graphWidth/gridWidth*graphHeight, graphWidth, graphHeight}
			d.Panels = append(d.Panels, g.panel(len(d.Panels)+1, at))
		}
		lines := (len(r.graphs)*graphWidth + gridWidth - 1) / gridWidth
		y += lines * graphHeight
	}
	return d
}

func (g graph) panel(id int, at gridPos) panel {
	p := panel{
		ID: id, Type: "timeseries", Title: g.title, Description: g.answers, GridPos: at,
		Datasource: prometheusSource, FieldConfig: &fieldConfig{Overrides: []any{}},
	}
	p.FieldConfig.Defaults.Unit = g.unit
	for i, q := range g.queries {
		p.Targets = append(p.Targets, target{RefID: string(rune('A' + i)), Expr: q.expr, LegendFormat: q.legend})
	}
	return p
}

// choice returns a variable with the values of a label.
func choice(name, metric string) variable {
	return variable{
		Name: name, Type: "query", Datasource: prometheusSource, Refresh: 2, Sort: 1,
		Query: fmt.Sprintf("label_values(%s, %s)", metric, name),
		Multi: true, IncludeAll: true, AllValue: ".*", Current: &current{"All", "$__all"},
	}
}

func (d dashboard) json() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
