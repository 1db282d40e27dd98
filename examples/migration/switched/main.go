// Invoices consumes orders and publishes an invoice for each, until it is
// interrupted.
package main

import (
	"bytes"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

type handler struct {
	producer *nsq.Producer
}

func (h *handler) HandleMessage(m *nsq.Message) error {
	if bytes.HasPrefix(m.Body, []byte("later:")) && m.Attempts == 1 {
		m.RequeueWithoutBackoff(10 * time.Second)
		return nil
	}
	if len(m.Body) < 2 {
		return errors.New("no order")
	}
	return h.producer.Publish("invoices", append([]byte("invoice for "), m.Body...))
}

func (h *handler) LogFailedMessage(m *nsq.Message) {
	log.Printf("given up: %s %q", m.ID, m.Body)
}

func main() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	cfg := nsq.NewConfig()
	if err := cfg.Set("max_in_flight", 50); err != nil {
		log.Fatal(err)
	}
	if err := run(cfg, "127.0.0.1:4150", interrupted); err != nil {
		log.Fatal(err)
	}
}

func run(cfg *nsq.Config, addr string, interrupted <-chan os.Signal) error {
	producer, err := nsq.NewProducer(addr, cfg)
	if err != nil {
		return err
	}
	defer producer.Stop()
	consumer, err := nsq.NewConsumer("orders", "invoices", cfg)
	if err != nil {
		return err
	}
	consumer.SetLogger(log.New(os.Stderr, "", log.Flags()), nsq.LogLevelWarning)
	consumer.AddConcurrentHandlers(&handler{producer}, 10)
	if err := consumer.ConnectToNSQD(addr); err != nil {
		return err
	}
	<-interrupted
	consumer.Stop()
	<-consumer.StopChan
	return nil
}
