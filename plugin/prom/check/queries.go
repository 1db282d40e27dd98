package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The files that are checked, from the folder of this module.
const (
	dashboardsDir = "../dashboards"
	rulesFile     = "../rules.yml"
	rulesTestFile = "testdata/rules_test.yml"
	metricsFile   = "../testdata/metrics.txt" // all metrics; the plugin's own test keeps it up to date

	// exporterFile is a page of "rdy exporter" with all of its metrics; its own test keeps it up
	// to date.
	exporterFile = "../../../cmd/rdy/internal/exporter/testdata/metrics.txt"
)

// placed is a query and the place where it was found.
type placed struct{ where, expr string }

// grafanaValues replaces Grafana's variables, as Grafana does before it runs a query.
var grafanaValues = strings.NewReplacer(
	"$__rate_interval", "15s", "$topic", ".*", "$channel", ".*", "$nsqd", ".*",
)

// dashboardQueries returns the queries of all panels, with values for the variables.
func dashboardQueries() ([]placed, error) {
	files, err := filepath.Glob(filepath.Join(dashboardsDir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []placed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				where := fmt.Sprintf("%s, %q, %s", filepath.Base(file), p.Title, t.RefID)
				all = append(all, placed{where, grafanaValues.Replace(t.Expr)})
			}
		}
	}
	return all, nil
}

// alertQueries returns the queries of all alerts.
func alertQueries() ([]placed, error) {
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		return nil, err
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", rulesFile, err)
	}
	var all []placed
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			all = append(all, placed{r.Alert, r.Expr})
		}
	}
	return all, nil
}
