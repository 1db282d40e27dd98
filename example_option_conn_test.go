package nsq_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// nsqd goes silent after 35 seconds. Its last heartbeat came after 30 seconds. The Consumer gives
// the connection up two and a half heartbeat intervals after that, however long read_timeout is.
// heartbeat_interval must not exceed read_timeout.
func ExampleConfig_heartbeatInterval() {
	inVirtualTime(func(c *cluster) {
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.HeartbeatInterval = 10 * time.Second
		cfg.ReadTimeout = time.Minute
		start := time.Now()
		cfg.Hooks = []nsq.Hooks{{Disconnected: func(e nsq.DisconnectEvent) {
			if e.Err != nil {
				fmt.Println("lost after", time.Since(start).Round(time.Second))
			}
		}}}
		c.consume(cfg, 1, func(*nsq.Message) error { return nil })
		time.Sleep(35 * time.Second)
		c.nsqd.StopHeartbeats()
		time.Sleep(25 * time.Second)
	})
	// Output: lost after 55s
}

// nsqd is frozen and reads nothing. A publish that does not fit into the socket's buffer fails
// when write_timeout is over. Any other publish waits for nsqd's reply until its context ends or
// heartbeats are missing, so publish with a context.
func ExampleConfig_writeTimeout() {
	inVirtualTime(func(c *cluster) {
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.WriteTimeout = 3 * time.Second
		producer, err := nsq.NewProducer(c.nsqd.Addr(), cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer producer.Stop()
		if err := producer.Ping(); err != nil {
			log.Fatal(err)
		}
		c.nsqd.StopReading()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		err = producer.PublishContext(ctx, "orders", make([]byte, 100_000))
		fmt.Println("within twice write_timeout:", time.Since(start) <= 2*cfg.WriteTimeout)
		fmt.Println("outcome unknown:", errors.Is(err, nsq.ErrUnknownOutcome))
	})
	// Output:
	// within twice write_timeout: true
	// outcome unknown: true
}

// TLS with a private certificate authority. SetMap switches tls_v1 on for any tls_ option;
// assigning TlsConfig does not.
func ExampleConfig_tlsV1() {
	inVirtualTime(func(c *cluster) {
		ca := nsqtest.NewCA(c.tb)
		server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("nsqd-2")}}
		nsqd := c.start(nsqtest.Options{Addr: "nsqd-2:4150", TLSConfig: server})

		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.TlsV1 = true
		cfg.TlsConfig = &tls.Config{RootCAs: ca.Roots()} // ServerName is the host of the nsqd's address
		info, err := nsq.CheckNSQD(context.Background(), nsqd.Addr(), cfg)
		fmt.Println(info.TLS, err)
	})
	// Output: TLS 1.3 <nil>
}

// TLS with certificates from files. The files are read at once, so SetMap fails if one cannot be
// used. They are read again for each connection, so certificates may be renewed in place.
func ExampleConfig_tlsFiles() {
	cfg := nsq.NewConfig()
	if err := cfg.SetMap(map[string]any{
		"tls_root_ca_file": "/etc/nsq/ca.pem",
		"tls_cert":         "/etc/nsq/client.pem",
		"tls_key":          "/etc/nsq/client-key.pem",
		"tls_min_version":  "tls1.2",
	}); err != nil {
		log.Fatal(err)
	}
}

// An nsqd with an auth service asks for auth_secret. Use TLS as well: without it the secret is
// sent as plain text.
func ExampleConfig_authSecret() {
	inVirtualTime(func(c *cluster) {
		nsqd := c.start(nsqtest.Options{Addr: "nsqd-2:4150", AuthSecret: "s3cret"})
		cfg := c.newConfig() // NewConfig, for the fakes of this example
		for _, secret := range []string{"", "guess", "s3cret"} {
			cfg.AuthSecret = secret
			_, err := nsq.CheckNSQD(context.Background(), nsqd.Addr(), cfg)
			var refused *nsq.ProtocolError
			fmt.Printf("%q: refused: %v, error: %v\n", secret, errors.As(err, &refused), err != nil)
		}
	})
	// Output:
	// "": refused: false, error: true
	// "guess": refused: true, error: true
	// "s3cret": refused: false, error: false
}

// Consumers learn of a new nsqd with their next poll of nsqlookupd: after lookupd_poll_interval
// and a random part of it, lookupd_poll_jitter at most. For a lost nsqd they poll at once.
func ExampleConfig_lookupdPollInterval() {
	inVirtualTime(func(c *cluster) {
		lookupd := nsqtest.NewLookupd(c.tb, nsqtest.LookupdOptions{Network: c.network})
		lookupd.Register("orders", c.nsqd.Addr())

		cfg := c.newConfig() // NewConfig, for the fakes of this example
		cfg.LookupdPollInterval = 10 * time.Second
		cfg.LookupdPollJitter = 0.1
		found := make(chan string, 2)
		cfg.Hooks = []nsq.Hooks{{Discovered: func(e nsq.DiscoverEvent) { found <- e.Added[0] }}}
		consumer, err := nsq.NewConsumer("orders", "billing", cfg)
		if err != nil {
			log.Fatal(err)
		}
		defer consumer.Stop()
		consumer.SetLookupdHttpClient(c.network.HTTPClient())
		consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error { return nil }))
		if err := consumer.ConnectToNSQLookupd(lookupd.Addr()); err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-found)

		time.Sleep(time.Minute)
		lookupd.Register("orders", c.start(nsqtest.Options{Addr: "nsqd-2:4150"}).Addr())
		start := time.Now()
		fmt.Println(<-found, "within 11 s:", time.Since(start) < 11*time.Second)
	})
	// Output:
	// nsqd-1:4150
	// nsqd-2:4150 within 11 s: true
}
