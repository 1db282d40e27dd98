package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// startTimeout bounds how long a process may take until it is ready.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds how long one may take to end.
	stopTimeout = 30 * time.Second
	pollPause   = 100 * time.Millisecond
)

// process is a process that this one has started.
type process struct {
	*exec.Cmd
	ended chan struct{}
	err   error // of Wait; read after ended
}

func start(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{Cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop interrupts the process and waits for its end.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended before it was stopped: %w", p.Path, errors.Join(p.err, errors.New("see its output")))
	default:
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	kill := time.AfterFunc(stopTimeout, func() { _ = p.Process.Kill() })
	defer kill.Stop()
	<-p.ended
	return p.err
}

// prometheus is a Prometheus that scrapes.
type prometheus struct {
	*process
	url string
}

const configuration = `global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: nsq
    static_configs: [{targets: [%q, %q, %q]}]
`

func startPrometheus(ctx context.Context, dir string, targets ...any) (*prometheus, error) {
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(configuration, append([]any{rules}, targets...)...)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", addr, "--log.level", "warn")
	cmd.Stderr = os.Stderr
	proc, err := start(cmd)
	if err != nil {
		return nil, err
	}
	p := &prometheus{proc, "http://" + addr}
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// freeAddr returns an address at which nothing listens.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready waits until Prometheus responds.
func (p *prometheus) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if err := p.get(ctx, "/-/ready", nil); err == nil {
			return nil
		}
		select {
		case <-time.After(pollPause):
		case <-p.ended:
			return fmt.Errorf("prometheus ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("prometheus not ready: %w", context.Cause(ctx))
		}
	}
}

// get requests a path, and decodes the JSON of the response into v unless that is nil.
func (p *prometheus) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// alerts returns how many alerts Prometheus evaluates without an error.
func (p *prometheus) alerts(ctx context.Context) (healthy int, err error) {
	var found struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Health string }
			}
		}
	}
	err = p.get(ctx, "/api/v1/rules", &found)
	for _, g := range found.Data.Groups {
		for _, r := range g.Rules {
			if r.Health == "ok" {
				healthy++
			}
		}
	}
	return healthy, err
}

// samples returns how many numbers a query returns over the last minute.
func (p *prometheus) samples(ctx context.Context, expr string) (n int, err error) {
	now := time.Now()
	params := url.Values{
		"query": {expr}, "step": {"1"},
		"start": {strconv.FormatInt(now.Add(-scrapeTime).Unix(), 10)}, "end": {strconv.FormatInt(now.Unix(), 10)},
	}
	var found struct {
		Data struct {
			Result []struct {
				Values [][2]any
			}
		}
	}
	err = p.get(ctx, "/api/v1/query_range?"+params.Encode(), &found)
	for _, series := range found.Data.Result {
		for _, v := range series.Values {
			text, _ := v[1].(string)
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
				n++
			}
		}
	}
	return n, err
}
