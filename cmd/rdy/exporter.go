package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/exporter"
	"github.com/spf13/cobra"
)

const (
	defaultExporterAddr  = "127.0.0.1:9117"
	defaultExporterFresh = 5 * time.Second

	maxScrapes = 10 // at a time; more are refused
)

// clusterExporter serves the metrics of a cluster.
type clusterExporter struct {
	*app
	missing missingDaemons
	cluster clusterFlags
	listen  string
	fresh   time.Duration
	clients bool
}

func newExporter(a *app) *cobra.Command {
	e := &clusterExporter{app: a, missing: missingDaemons{app: a}, fresh: defaultExporterFresh}
	cmd := &cobra.Command{
		Use:   "exporter (--lookupd address | --nsqd-http address)",
		Short: "Serve metrics of a cluster to Prometheus",
		Long: `Serve the counts of nsqds and nsqlookupds to Prometheus, until Ctrl-C. /metrics has the
metrics. /healthz responds "ok" as long as the exporter runs.

  nsqd_topic_…      messages_total, bytes_total, depth_messages, disk_depth_messages,
                    paused; by topic and nsqd
  nsqd_channel_…    messages_total, requeued_messages_total, timed_out_messages_total,
                    depth_messages, disk_depth_messages, in_flight_messages,
                    deferred_messages, clients, paused; by topic, channel and nsqd
  nsqd_channel_latency_seconds
                    by quantile as well, if nsqd runs with
                    --e2e-processing-latency-percentile
  nsqd_…            up, info, start_time_seconds, healthy, memory_…; by nsqd
  nsqlookupd_…      up, tombstoned; by lookupd
  nsqd_client_…     only with --clients, which makes a series for each connection

Counters start again at 0 when an nsqd restarts; rate() allows for that. An nsqd that does
not respond has nsqd_up 0 and no other series, so no figure is stale. An nsqd that no
nsqlookupd lists has no series at all, unless --nsqd-http names it. nsqlookupd forgets an
nsqd that dies, so name each nsqd to be alerted. The series of a topic, a channel or a
client end with it. Ephemeral channels have series like any other.

All scrapes within --interval share one poll of the cluster, so figures are at most that
old. With --interval 0 each scrape polls, unless a poll is under way.

Anyone who can reach the address can read the names of topics, channels and hosts. By
default only programs on this machine can reach it. There is no password and no TLS: put a
proxy in front for those. The command prints its address; with --json it prints "metrics"
and "health", two URLs.

` + clusterHelp + "\n\n" + outputHelp + `

Exit codes: 0 after Ctrl-C, 1 if the address cannot be used.`,
		Example: `  rdy exporter --lookupd 127.0.0.1:4161
  rdy exporter --nsqd-http 127.0.0.1:4151 --clients --listen :9117
  curl http://127.0.0.1:9117/metrics`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := e.cluster.target(cmd)
			if err != nil {
				return err
			}
			defer t.close()
			t.Memory = true
			return e.run(cmd.Context(), t)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	e.cluster.addPolling(f)
	f.StringVar(&e.listen, "listen", defaultExporterAddr, "`address` to serve at; without a host, at all addresses of this machine")
	f.Var(durationFlag(&e.fresh, 0, maxInterval), "interval", "how long the figures of a poll are served")
	f.BoolVar(&e.clients, "clients", false, "also serve metrics of each client")
	e.outputFlags(f)
	return cmd
}

// exporterAddrs is what "rdy exporter --json" prints.
type exporterAddrs struct {
	Metrics string `json:"metrics"`
	Health  string `json:"health"`
}

// run serves until ctx ends.
func (e *clusterExporter) run(ctx context.Context, t *target) error {
	registry := prometheus.NewRegistry()
	if err := registry.Register(exporter.New(ctx, e.fresh, func(ctx context.Context) *admin.View { return e.poll(ctx, t) })); err != nil {
		return err
	}
	server, err := serveHTTP(e.listen, exporterHandler(registry, e.app))
	if err != nil {
		return fmt.Errorf("cannot serve metrics, choose another address for --listen: %w", err)
	}
	url := "http://" + server.addr
	addrs := exporterAddrs{Metrics: url + "/metrics", Health: url + "/healthz"}
	err = e.print(addrs, func() []byte { return fmt.Appendf(nil, "metrics  %s\n", addrs.Metrics) })
	if err == nil {
		select {
		case <-ctx.Done():
		case <-server.ended:
		}
	}
	return errors.Join(err, server.stop())
}

// poll polls the cluster, and tells the user of daemons that do not respond.
func (e *clusterExporter) poll(ctx context.Context, t *target) *admin.View {
	ask := t.Poll
	if e.clients {
		ask = func(ctx context.Context) (*admin.View, error) { return t.PollClients(ctx, "", "") }
	}
	v, err := ask(ctx)
	if ctx.Err() == nil {
		e.missing.tell(nil, err)
	}
	return v
}

// exporterHandler serves the metrics of a registry. No response shows an error of a daemon.
func exporterHandler(registry *prometheus.Registry, a *app) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{a}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "rdy exporter: the metrics are at /metrics\n")
	})
	return mux
}

// scrapeLog tells the user of metrics that could not be made.
type scrapeLog struct{ *app }

// Println tells of an error, but not that a scraper has gone away: that is told for each metric.
func (s scrapeLog) Println(v ...any) {
	for _, one := range v {
		if err, ok := one.(error); ok && isNetError(err) {
			return
		}
	}
	s.notice("rdy: %s", strings.TrimSpace(fmt.Sprintln(v...)))
}

func isNetError(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}
