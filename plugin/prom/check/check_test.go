package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

var update = flag.Bool("update", false, "write the dashboards")

// The files are what dashboards.go says. go test . -update writes them.
func TestDashboards(t *testing.T) {
	for name, d := range dashboards {
		text, err := d.json()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dashboardsDir, name)
		if *update {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, text) {
			t.Errorf("%s is not what dashboards.go says: run go test . -update", file)
		}
	}
	if files, err := filepath.Glob(filepath.Join(dashboardsDir, "*")); err != nil || len(files) != len(dashboards) {
		t.Errorf("%v, %v", files, err)
	}
}

// Each panel has its own place and ID and a description, and each graph has queries.
func TestPanels(t *testing.T) {
	for name, d := range dashboards {
		taken, ids := map[gridPos]string{}, map[int]bool{}
		for _, p := range d.Panels {
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := gridPos{X: p.GridPos.X + x, Y: p.GridPos.Y + y}
					if other, ok := taken[at]; ok || at.X >= gridWidth {
						t.Fatalf("%s: %q and %q are both at %+v", name, other, p.Title, at)
					}
					taken[at] = p.Title
				}
			}
			if p.Title == "" || ids[p.ID] || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
				t.Errorf("%s: %+v", name, p)
			}
			ids[p.ID] = true
		}
	}
}

// metrics returns the labels of each metric that is exported, and of the parts of
// histograms.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		var name, kind, braces string
		if _, err := fmt.Sscan(line, &name, &kind, &braces); err != nil {
			t.Fatal(err)
		}
		labels := append(strings.Split(strings.Trim(braces, "{}"), ","), "job", "instance")
		if kind != "histogram" {
			all[name] = labels
			continue
		}
		all[name+"_bucket"] = append(slices.Clip(labels), "le")
		all[name+"_count"], all[name+"_sum"] = labels, labels
	}
	addExporter(t, all)
	return all
}

// labelName matches a label of a sample.
var labelName = regexp.MustCompile(`(\w+)="`)

// addExporter adds the metrics of rdy exporter.
func addExporter(t *testing.T, all map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(exporterFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, labels, ok := strings.Cut(line, "{")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		all[name] = []string{"job", "instance"}
		for _, label := range labelName.FindAllStringSubmatch(labels, -1) {
			all[name] = append(all[name], label[1])
		}
	}
}

// All queries parse, and use only metrics and labels that are exported.
func TestQueries(t *testing.T) {
	panels, err := dashboardQueries()
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := alertQueries()
	if err != nil {
		t.Fatal(err)
	}
	if len(panels) < 40 || len(alerts) < 6 {
		t.Errorf("only %d queries of panels and %d alerts", len(panels), len(alerts))
	}
	exported := metrics(t)
	for _, q := range append(panels, alerts...) {
		for _, fault := range faults(q.expr, exported) {
			t.Errorf("%s: %s in %s", q.where, fault, q.expr)
		}
	}
}

// faults returns what is wrong with a query.
func faults(expr string, exported map[string][]string) (found []string) {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}
	}
	known := map[string]bool{} // labels of all that the query selects
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels, ok := exported[selector.Name]
		if !ok {
			found = append(found, "no metric "+selector.Name)
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != "__name__" && !slices.Contains(labels, matcher.Name) {
				found = append(found, fmt.Sprintf("%s has no label %s", selector.Name, matcher.Name))
			}
		}
		for _, label := range labels {
			known[label] = true
		}
		return nil
	})
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if sum, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range sum.Grouping {
				if !known[label] {
					found = append(found, "nothing has the label "+label)
				}
			}
		}
		return nil
	})
	return found
}

// faults finds the mistakes that it is meant to find.
func TestFaults(t *testing.T) {
	exported := map[string][]string{"a_total": {"topic"}}
	for expr, want := range map[string]string{
		`sum by (topic) (rate(a_total{topic=~".*"}[1m]))`: "",
		`rate(a_total[1m]`:           "unclosed left parenthesis",
		`b_total`:                    "no metric b_total",
		`a_total{channel="c"}`:       "a_total has no label channel",
		`sum by (channel) (a_total)`: "nothing has the label channel",
	} {
		if got := strings.Join(faults(expr, exported), "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// Each alert has a test in which it fires. promtool runs them: see main.go.
func TestAlertsHaveTests(t *testing.T) {
	alerts, err := alertQueries()
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(rulesTestFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		if !strings.Contains(string(tests), "alertname: "+a.where+"\n        exp_alerts:\n          - exp_labels") {
			t.Errorf("%s does not fire in %s", a.where, rulesTestFile)
		}
	}
}
