// Orders publishes orders and bills them. It is a typical program for go-nsq
// v1.1.0: a producer, a consumer, options from flags, a logger, statistics and a
// graceful stop.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nsqio/go-nsq"
)

// biller handles orders. It fails the first delivery of every tenth one.
type biller struct {
	billed  chan string
	givenUp chan string
}

func (b *biller) HandleMessage(m *nsq.Message) error {
	if len(m.Body) == 0 {
		return nil
	}
	if m.Body[len(m.Body)-1] == '0' && m.Attempts == 1 {
		return errors.New("the bank is busy")
	}
	m.Touch()
	b.billed <- string(m.Body)
	return nil
}

// LogFailedMessage is called for orders that are given up.
func (b *biller) LogFailedMessage(m *nsq.Message) { b.givenUp <- string(m.Body) }

func main() {
	cfg := nsq.NewConfig()
	for option, value := range map[string]interface{}{
		"max_in_flight":         10,
		"default_requeue_delay": "10ms",
		"max_backoff_duration":  0,
		"max_attempts":          3,
		"msg_timeout":           30 * time.Second,
	} {
		if err := cfg.Set(option, value); err != nil {
			log.Fatal(err)
		}
	}
	addr := flag.String("nsqd-tcp-address", "127.0.0.1:4150", "address of nsqd")
	orders := flag.Int("orders", 100, "number of orders to publish")
	flag.Var(&nsq.ConfigFlag{Config: cfg}, "option", "option of the client, as name,value")
	flag.Parse()
	logger := log.New(os.Stderr, "", log.LstdFlags)

	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		log.Fatal(err)
	}
	consumer.SetLogger(logger, nsq.LogLevelWarning)
	b := &biller{billed: make(chan string, *orders), givenUp: make(chan string, *orders)}
	consumer.AddConcurrentHandlers(b, 4)
	if err := consumer.ConnectToNSQD(*addr); err != nil {
		log.Fatal(err)
	}

	producer, err := nsq.NewProducer(*addr, cfg)
	if err != nil {
		log.Fatal(err)
	}
	producer.SetLogger(logger, nsq.LogLevelWarning)
	if err := producer.Ping(); err != nil {
		log.Fatal(err)
	}
	done := make(chan *nsq.ProducerTransaction, *orders)
	for i := 1; i <= *orders; i++ {
		if err := producer.PublishAsync("orders", []byte(fmt.Sprintf("order %d", i)), done, i); err != nil {
			log.Fatal(err)
		}
	}
	for i := 0; i < *orders; i++ {
		if t := <-done; t.Error != nil {
			log.Fatalf("order %v: %v", t.Args[0], t.Error)
		}
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	billed := make(map[string]bool)
	for len(billed) < *orders {
		select {
		case order := <-b.billed:
			billed[order] = true
		case order := <-b.givenUp:
			log.Fatal("given up: ", order)
		case <-signals:
			consumer.Stop()
		case <-consumer.StopChan:
			log.Fatal("the consumer stopped early")
		}
	}
	consumer.Stop()
	<-consumer.StopChan
	producer.Stop()
	if err := producer.Publish("orders", []byte("late")); err != nsq.ErrStopped { //nolint:errorlint // programs for go-nsq compare with ==
		log.Fatalf("publish after Stop: %v, want ErrStopped", err)
	}
	s := consumer.Stats()
	fmt.Printf("%d billed: received %d, finished %d, requeued %d\n", len(billed),
		s.MessagesReceived, s.MessagesFinished, s.MessagesRequeued)
}
