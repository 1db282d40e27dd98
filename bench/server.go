package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/nsqio/nsq/nsqd"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

const (
	topic   = "bench"
	channel = "bench"
)

// addresses tells a client where its server listens.
type addresses struct {
	NSQDs   []string
	Lookupd string // for connect
	Counts  string // for silence: where the counts of commands are read
}

// serve is the server process. It prints its addresses as one line of JSON, and
// exits when its standard input ends.
func serve(ctx context.Context, c Case) error {
	start := startFakes
	if c.Server == "nsqd" {
		start = startNSQD
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	where, stop, err := start(ctx, c)
	if err != nil {
		return err
	}
	defer stop()
	if err := json.NewEncoder(os.Stdout).Encode(where); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
	return err
}

func startFakes(ctx context.Context, c Case) (where addresses, stop func(), err error) {
	f := newFake(c)
	if c.Transport == "tls" {
		if f.tls, err = selfSigned(); err != nil {
			return where, nil, err
		}
	}
	var listening net.ListenConfig
	for range max(c.Conns, 1) {
		l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return where, nil, err
		}
		where.NSQDs = append(where.NSQDs, l.Addr().String())
		go f.serve(l)
	}
	if c.Kind == silence {
		l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return where, nil, err
		}
		where.Counts = l.Addr().String()
		go f.counts.serve(l)
	}
	if c.Kind == connect {
		l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return where, nil, err
		}
		where.Lookupd = l.Addr().String()
		response := lookupResponse(where.NSQDs)
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-NSQ-Content-Type", "nsq; version=1.0")
				_, _ = w.Write(response)
			})}
		go func() { _ = server.Serve(l) }()
	}
	return where, func() {}, nil // everything ends with the process
}

// lookupResponse returns an nsqlookupd's response for a topic that all nsqds have.
func lookupResponse(nsqds []string) []byte {
	type producer struct {
		BroadcastAddress string `json:"broadcast_address"`
		TCPPort          int    `json:"tcp_port"`
	}
	var response struct {
		Channels  []string   `json:"channels"`
		Producers []producer `json:"producers"`
	}
	for _, addr := range nsqds {
		host, port, _ := net.SplitHostPort(addr)
		response.Producers = append(response.Producers, producer{host, atoi([]byte(port))})
	}
	data, _ := json.Marshal(response) // cannot fail on strings and numbers
	return data
}

// startNSQD starts a real nsqd, and fills the channel with the case's messages.
func startNSQD(ctx context.Context, c Case) (where addresses, stop func(), err error) {
	b, err := broker.Start(ctx, broker.Options{Configure: func(_ int, o *nsqd.Options) {
		o.MemQueueSize = max(int64(c.Messages), o.MemQueueSize)
	}})
	if err != nil {
		return where, nil, err
	}
	where.NSQDs = []string{b.NSQDs()[0].TCPAddr}
	stop = func() { _ = b.Stop() }
	if c.Messages == 0 && c.Kind != latency {
		return where, stop, nil
	}
	if err := createChannel(b.NSQDs()[0].HTTPAddr); err != nil {
		return where, stop, err
	}
	p, err := nsq.NewProducer(where.NSQDs[0], nsq.NewConfig())
	if err != nil {
		return where, stop, err
	}
	p.SetLogger(nil, nsq.LogLevelError)
	if c.Kind == latency {
		go publishPaced(p, c) // until the process exits
		return where, stop, nil
	}
	defer p.Stop()
	return where, stop, preload(p, c)
}

func createChannel(httpAddr string) error {
	for _, create := range []string{"topic", "channel"} {
		url := fmt.Sprintf("http://%s/%s/create?topic=%s&channel=%s", httpAddr, create, topic, channel)
		response, err := http.Post(url, "", nil) // #nosec G107 -- loopback
		if err != nil {
			return err
		}
		_ = response.Body.Close()
	}
	return nil
}

// preload publishes the case's messages.
func preload(p *nsq.Producer, c Case) error {
	batch := make([][]byte, 100)
	for i := range batch {
		batch[i] = text(c.Body)
	}
	for left := c.Messages; left > 0; left -= len(batch) {
		if err := p.MultiPublish(topic, batch[:min(left, len(batch))]); err != nil {
			return err
		}
	}
	return nil
}

func selfSigned() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
	}, nil
}
