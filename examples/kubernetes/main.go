// Kubernetes is a consumer that serves the probes in deployment.yaml.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/health"
)

func main() {
	cfg := nsq.NewConfig()
	if err := cfg.SetEnv("NSQ"); err != nil { // NSQ_STOP_TIMEOUT and others, from deployment.yaml
		log.Fatal(err)
	}
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(m *nsq.Message) error {
		log.Printf("%s", m.Body)
		return nil
	}), 10)

	// The probes are served before the Consumer connects, and until the process ends.
	go func() { log.Fatal(http.ListenAndServe(":8080", probes(consumer))) }()

	if err := consumer.ConnectToNSQLookupd(os.Getenv("NSQ_LOOKUPD_ADDR")); err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := consumer.Run(ctx); err != nil {
		log.Print(err)
	}
}

func probes(consumer *nsq.Consumer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/live", health.Live(consumer))
	mux.Handle("/ready", health.Ready(consumer))
	return mux
}
