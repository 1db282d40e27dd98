package main

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	nsqprom "github.com/rdyhq/nsq/plugin/prom"
)

// metricsServer serves the metrics of a demo.
type metricsServer struct {
	*nsqprom.Metrics
	*httpServer
	url string
}

// serveMetrics serves metrics at addr until stop is called.
func serveMetrics(addr string) (*metricsServer, error) {
	registry := prometheus.NewRegistry()
	metrics, err := nsqprom.New(registry)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server, err := serveHTTP(addr, mux)
	if err != nil {
		return nil, fmt.Errorf("cannot serve metrics, choose another address for --metrics: %w", err)
	}
	return &metricsServer{metrics, server, "http://" + server.addr + "/metrics"}, nil
}
