// Producer publishes each line of its standard input as a message, and prints how
// many it published.
//
//	producer orders < file
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rdyhq/nsq"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: producer topic < file")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	n, err := publish(ctx, nsq.NewConfig(), "127.0.0.1:4150", os.Args[1], os.Stdin)
	stop()
	fmt.Println(n, "published")
	if err != nil {
		log.Fatal(err)
	}
}

// publish publishes each line as a message and returns how many it published. It
// stops when the lines end, when ctx ends, or when a line cannot be published.
func publish(ctx context.Context, cfg *nsq.Config, addr, topic string, lines io.Reader) (n int, err error) {
	producer, err := nsq.NewProducer(addr, cfg)
	if err != nil {
		return 0, err
	}
	defer producer.Stop()
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		if len(scanner.Bytes()) == 0 {
			continue // nsqd refuses empty messages
		}
		if err := publishOne(ctx, producer, topic, scanner.Bytes()); err != nil {
			return n, err
		}
		n++
	}
	return n, scanner.Err()
}

// publishOne retries, until ctx ends, while nsqd certainly does not have the
// message. If nsqd may have it, the caller must decide: publishing it again may
// duplicate the message, not publishing it again may lose it.
func publishOne(ctx context.Context, producer *nsq.Producer, topic string, body []byte) error {
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := producer.PublishContext(try, topic, body)
		cancel()
		if !errors.Is(err, nsq.ErrNotSent) {
			return err
		}
		log.Print(err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}
