package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// parse reads YAML that consists of block mappings, lists of mappings and plain or quoted
// values, and returns the values by their paths. It fails on anything else. A parser of all
// of YAML would be a dependency.
func parse(t *testing.T, text string) map[string]string {
	t.Helper()
	line := regexp.MustCompile(`^( *)(- )?([A-Za-z]+):(?: ("[^"]*"|[^\s"#:][^"#]*))?$`)
	type level struct {
		indent int
		key    string
	}
	values := map[string]string{}
	items := map[string]int{}
	var open []level
	path := func() string {
		var keys []string
		for _, l := range open {
			keys = append(keys, l.key)
		}
		return strings.Join(keys, ".")
	}
	for n, text := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(strings.TrimSpace(text), "#") {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil || len(m[1])%2 != 0 {
			t.Fatalf("line %d: %q", n+1, text)
		}
		indent := len(m[1])
		for len(open) > 0 && open[len(open)-1].indent >= indent {
			open = open[:len(open)-1]
		}
		if parent := len(open) - 1; parent >= 0 && indent != open[parent].indent+2 || parent < 0 && indent != 0 {
			t.Fatalf("line %d is indented by %d", n+1, indent)
		}
		if m[2] != "" {
			list := path()
			open = append(open, level{indent, strconv.Itoa(items[list])})
			items[list]++
			indent += 2
		}
		open = append(open, level{indent, m[3]})
		if _, twice := values[path()]; twice {
			t.Fatalf("line %d: %s is given twice", n+1, path())
		}
		values[path()] = strings.Trim(m[4], `"`)
	}
	return values
}

// The grace period covers preStop and stop_timeout, SetEnv accepts the environment, and main
// serves the paths that the probes ask.
func TestDeployment(t *testing.T) {
	text, err := os.ReadFile("deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values := parse(t, string(text))
	const pod = "spec.template.spec."
	const container = pod + "containers.0."
	seconds := func(key string) time.Duration {
		n, err := strconv.Atoi(values[key])
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		return time.Duration(n) * time.Second
	}
	for i := 0; values[container+"env."+strconv.Itoa(i)+".name"] != ""; i++ {
		env := container + "env." + strconv.Itoa(i)
		t.Setenv(values[env+".name"], values[env+".value"])
	}
	cfg := nsq.NewConfig()
	if err := cfg.SetEnv("NSQ"); err != nil {
		t.Fatal(err)
	}
	if cfg.MaxInFlight != 50 || os.Getenv("NSQ_LOOKUPD_ADDR") == "" {
		t.Error("the environment is not read")
	}
	const margin = 5 * time.Second
	grace, preStop := seconds(pod+"terminationGracePeriodSeconds"), seconds(container+"lifecycle.preStop.sleep.seconds")
	if grace < preStop+cfg.StopTimeout+margin {
		t.Errorf("grace period %v, preStop %v, stop_timeout %v: the process is killed while it stops", grace, preStop, cfg.StopTimeout)
	}
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		consumer.Stop()
		<-consumer.Stopped()
	}()
	for probe, status := range map[string]int{"livenessProbe": 200, "readinessProbe": 503} {
		w := httptest.NewRecorder()
		probes(consumer).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, values[container+probe+".httpGet.path"], nil))
		if w.Code != status {
			t.Errorf("%s: status %d, want %d", probe, w.Code, status)
		}
		if values[container+probe+".httpGet.port"] != values[container+"ports.0.name"] {
			t.Errorf("%s asks another port", probe)
		}
	}
}

// The pod is ready once its Consumer is connected.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			t.Fatal(err)
		}
		consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
		status := func(path string) int {
			w := httptest.NewRecorder()
			probes(consumer).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			return w.Code
		}
		if live, ready := status("/live"), status("/ready"); live != 200 || ready != 503 {
			t.Errorf("before: live %d, ready %d", live, ready)
		}
		if err := consumer.ConnectToNSQD(d.Addr()); err != nil {
			t.Fatal(err)
		}
		if live, ready := status("/live"), status("/ready"); live != 200 || ready != 200 {
			t.Errorf("connected: live %d, ready %d", live, ready)
		}
		consumer.Stop()
		<-consumer.Stopped()
		if live, ready := status("/live"), status("/ready"); live != 200 || ready != 503 {
			t.Errorf("stopped: live %d, ready %d", live, ready)
		}
	})
}
