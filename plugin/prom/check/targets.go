package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
	nsqprom "github.com/rdyhq/nsq/plugin/prom"
)

// command is a command of rdy that serves metrics.
type command struct {
	*process
	target string
	output sync.WaitGroup
}

// buildRdy builds rdy in a directory, and returns the path of it.
func buildRdy(ctx context.Context, dir string) (string, error) {
	const repository = "../../.."
	rdy := filepath.Join(dir, "rdy")
	build := exec.CommandContext(ctx, "go", "build", "-o", rdy, "./cmd/rdy")
	build.Dir, build.Env = repository, append(os.Environ(), "GOWORK=") // that of the repository
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	return rdy, nil
}

// startCommand starts a command of rdy, and waits until it has printed where its metrics are.
func startCommand(rdy string, args ...string) (*command, error) {
	cmd := exec.Command(rdy, args...)
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = write, write
	p, err := start(cmd)
	_ = write.Close()
	if err != nil {
		return nil, errors.Join(err, read.Close())
	}
	c := &command{process: p}
	target := make(chan string, 1)
	c.output.Go(func() {
		defer func() { _ = read.Close() }()
		for lines := bufio.NewScanner(read); lines.Scan(); {
			if _, url, ok := strings.Cut(lines.Text(), "http://"); ok && strings.HasPrefix(lines.Text(), "metrics") {
				target <- strings.TrimSuffix(url, "/metrics")
			}
		}
	})
	select {
	case c.target = <-target:
		return c, nil
	case <-p.ended:
		err = p.err
	case <-time.After(startTimeout):
		err = errors.New("it did not print the address of its metrics")
	}
	return nil, errors.Join(fmt.Errorf("rdy %s: %w", args[0], err), c.stop())
}

func (c *command) stop() error {
	err := c.process.stop()
	c.output.Wait()
	return err
}

// service finds nsqds through nsqlookupd, which the demo does not, and publishes with a
// pool.
type service struct {
	target   string
	cluster  *broker.Broker
	consumer *nsq.Consumer
	pool     *nsq.ProducerPool
	server   http.Server
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

const (
	topic        = "orders"
	publishPause = 10 * time.Millisecond
	failRate     = .02
)

func startService(ctx context.Context) (s *service, err error) {
	s = &service{}
	ctx, s.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if s.cluster, err = broker.Start(ctx, broker.Options{NSQDs: 2, Lookupds: 1}); err != nil {
		return s, err
	}
	registry := client.NewRegistry()
	metrics, err := nsqprom.New(registry)
	if err != nil {
		return s, err
	}
	config := nsq.NewConfig()
	config.Logger = slog.New(slog.DiscardHandler) // handlers fail on purpose
	config.Hooks = append(config.Hooks, metrics.Hooks())
	config.LookupdPollInterval = time.Second
	if err := s.connect(config, metrics); err != nil {
		return s, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	s.target = listener.Addr().String()
	s.server.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	s.server.ReadHeaderTimeout = stopTimeout
	s.work.Go(func() { _ = s.server.Serve(listener) })
	s.work.Go(func() { s.publish(ctx) })
	return s, nil
}

// connect makes the Consumer and the pool.
func (s *service) connect(config *nsq.Config, metrics *nsqprom.Metrics) (err error) {
	var addrs []string
	for _, n := range s.cluster.NSQDs() {
		addrs = append(addrs, n.TCPAddr)
	}
	if s.pool, err = nsq.NewProducerPool(addrs, config); err != nil {
		return err
	}
	metrics.Pool(s.pool)
	if s.consumer, err = nsq.NewConsumer(topic, "billing", config); err != nil {
		return err
	}
	metrics.Consumer(s.consumer)
	s.consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(*nsq.Message) error {
		if rand.Float64() < failRate { // #nosec G404 -- chance
			return errors.New("out of luck")
		}
		return nil
	}), 4)
	return s.consumer.ConnectToNSQLookupds(s.cluster.LookupdHTTPAddrs())
}

func (s *service) publish(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.pool.PublishContext(ctx, topic, []byte("order"))
		select {
		case <-time.After(publishPause):
		case <-ctx.Done():
		}
	}
}

func (s *service) stop() error {
	s.cancel()
	err := s.server.Close()
	s.work.Wait()
	if s.consumer != nil {
		s.consumer.Stop()
		<-s.consumer.StopChan
	}
	if s.pool != nil {
		s.pool.Stop()
	}
	if s.cluster != nil {
		err = errors.Join(err, s.cluster.Stop())
	}
	return err
}
