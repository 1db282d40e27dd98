package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	nsqprom "github.com/rdyhq/nsq/plugin/prom"
)

// metricsTimeout bounds how long a client may take to send a request, and how long a
// response may still take when the demo ends.
const metricsTimeout = 5 * time.Second

// metricsServer serves the metrics of a demo.
type metricsServer struct {
	*nsqprom.Metrics
	url    string
	server http.Server
	done   sync.WaitGroup
	err    error // of the server; read after done
}

// serveMetrics serves metrics at addr until stop is called.
func serveMetrics(addr string) (*metricsServer, error) {
	registry := prometheus.NewRegistry()
	metrics, err := nsqprom.New(registry)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot serve metrics, choose another address for --metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	s := &metricsServer{
		Metrics: metrics,
		url:     fmt.Sprintf("http://%s/metrics", listener.Addr()),
		server:  http.Server{Handler: mux, ReadHeaderTimeout: metricsTimeout},
	}
	s.done.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	})
	return s, nil
}

// stop ends the server. It gives a scrape in progress metricsTimeout to finish.
func (s *metricsServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	s.done.Wait()
	return errors.Join(s.err, err)
}
