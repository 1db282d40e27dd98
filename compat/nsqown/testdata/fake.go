package nsqd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

// This file becomes a test file of NSQ's package nsqd. There it takes the place of
// mustStartNSQD, so that the tests that only talk to nsqd talk to the fake.

// mustStartNSQD starts a fake nsqd with the options that it has.
func mustStartNSQD(opts *Options) (net.Addr, net.Addr, *fakeNSQD) {
	t := &fakeTB{}
	d := nsqtest.NewNsqd(t, nsqtest.Options{
		TLSConfig:              fakeTLS(opts),
		TLSRequired:            opts.TLSRequired != TLSNotRequired || opts.TLSClientAuthPolicy != "",
		Snappy:                 opts.SnappyEnabled,
		Deflate:                opts.DeflateEnabled,
		HeartbeatInterval:      opts.ClientTimeout / 2,
		MsgTimeout:             opts.MsgTimeout,
		MaxMsgTimeout:          opts.MaxMsgTimeout,
		MaxReqTimeout:          opts.MaxReqTimeout,
		MaxRdyCount:            int(opts.MaxRdyCount),
		MaxMsgSize:             int(opts.MaxMsgSize),
		MaxBodySize:            int(opts.MaxBodySize),
		MaxHeartbeatInterval:   opts.MaxHeartbeatInterval,
		MaxOutputBufferSize:    int(opts.MaxOutputBufferSize),
		MinOutputBufferTimeout: opts.MinOutputBufferTimeout,
		MaxOutputBufferTimeout: opts.MaxOutputBufferTimeout,
	})
	addr, err := net.ResolveTCPAddr("tcp", d.Addr())
	if err != nil {
		panic(err)
	}
	return addr, nil, &fakeNSQD{d, t}
}

func fakeTLS(opts *Options) *tls.Config {
	if opts.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(opts.TLSCert, opts.TLSKey)
	if err != nil {
		panic(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: opts.TLSMinVersion}
	switch opts.TLSClientAuthPolicy {
	case "require":
		config.ClientAuth = tls.RequireAnyClientCert
	case "require-verify":
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if opts.TLSRootCAFile != "" {
		roots, err := os.ReadFile(opts.TLSRootCAFile)
		if err != nil {
			panic(err)
		}
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(roots)
	}
	return config
}

// A fakeNSQD has those methods of an NSQD that the tests call.
type fakeNSQD struct {
	nsqd *nsqtest.Nsqd
	t    *fakeTB
}

func (d *fakeNSQD) Exit() {
	for _, end := range d.t.cleanups {
		end()
	}
}

func (d *fakeNSQD) GetTopic(name string) *fakeTopic { return &fakeTopic{d.nsqd, name} }

type fakeTopic struct {
	nsqd *nsqtest.Nsqd
	name string
}

// GenerateID returns nothing: PutMessage fills in the ID that the fake chooses.
func (t *fakeTopic) GenerateID() MessageID { return MessageID{} }

func (t *fakeTopic) PutMessage(m *Message) error {
	copy(m.ID[:], t.nsqd.Publish(t.name, string(m.Body))[0])
	return nil
}

func (t *fakeTopic) GetChannel(name string) { t.nsqd.CreateChannel(t.name, name) }

// A fakeTB is a test that nsqtest can use: mustStartNSQD is not given one.
type fakeTB struct {
	testing.TB
	cleanups []func()
}

func (t *fakeTB) Helper()                           {}
func (t *fakeTB) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *fakeTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
