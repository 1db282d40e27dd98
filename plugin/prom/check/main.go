// Command check tries the dashboards and alerts of plugin/prom with a real Prometheus. It
// runs promtool on the alerts. Then it runs "rdy demo --metrics", a service that uses what the
// demo does not, and "rdy exporter" for the cluster of the service. It has Prometheus scrape all
// three for a minute, and requires that the query of every panel returns data.
//
// It needs prometheus and promtool in the PATH. Debian's package prometheus has both.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

// scrapeTime is how long Prometheus scrapes before the queries.
const scrapeTime = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := check(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context) error {
	if err := promtool(ctx); err != nil {
		return err
	}
	queries, err := dashboardQueries()
	if err != nil {
		return err
	}
	alerts, err := alertQueries()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "prom")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return scraped(ctx, dir, func(p *prometheus) error {
		fmt.Printf("scraping for %v\n", scrapeTime)
		select {
		case <-time.After(scrapeTime):
		case <-ctx.Done():
			return ctx.Err()
		}
		if n, err := p.alerts(ctx); err != nil || n != len(alerts) {
			return fmt.Errorf("prometheus evaluates %d of %d alerts, error %w", n, len(alerts), err)
		}
		return p.hasData(ctx, queries)
	})
}

// promtool checks the syntax of the alerts, and runs their tests.
func promtool(ctx context.Context) error {
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", rulesTestFile}} {
		cmd := exec.CommandContext(ctx, "promtool", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	fmt.Println("promtool accepts the alerts, and each fires in its test")
	return nil
}

// scraped runs a demo, a service, an exporter and a Prometheus that scrapes them, calls use,
// and ends them.
func scraped(ctx context.Context, dir string, use func(*prometheus) error) (err error) {
	rdy, err := buildRdy(ctx, dir)
	if err != nil {
		return err
	}
	d, err := startCommand(rdy, "demo", "--keep", "--metrics", "127.0.0.1:0", "--messages", "200000", "--work", "5ms")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	s, err := startService(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	e, err := startCommand(rdy, "exporter", "--listen", "127.0.0.1:0", "--interval", "0", "--lookupd", s.cluster.LookupdHTTPAddrs()[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	p, err := startPrometheus(ctx, dir, d.target, s.target, e.target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return use(p)
}

// hasData requires that queries return data over the last minute.
func (p *prometheus) hasData(ctx context.Context, queries []placed) error {
	if n, err := p.samples(ctx, `nsq_consumer_handlers{topic="none"}`); err != nil || n > 0 {
		return fmt.Errorf("a topic that does not exist has %d samples, error %w", n, err)
	}
	var missing []error
	for _, q := range queries {
		n, err := p.samples(ctx, q.expr)
		switch {
		case err != nil:
			missing = append(missing, fmt.Errorf("%s: %w in %s", q.where, err, q.expr))
		case n == 0:
			missing = append(missing, fmt.Errorf("%s: no data for %s", q.where, q.expr))
		}
	}
	fmt.Printf("%d of %d queries of panels return data\n", len(queries)-len(missing), len(queries))
	return errors.Join(missing...)
}
