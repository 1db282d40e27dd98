package nsq

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// defaultHeartbeat is the interval of an nsqd that was asked for none: half its
// client-timeout.
const defaultHeartbeat = 30 * time.Second

// linkConfig is what the Config says of a connection to one nsqd.
func (c *Config) linkConfig(addr string) link.Config {
	cfg := link.Config{
		Addr:             addr,
		Dial:             c.dialContext(),
		Identify:         c.identify(),
		TLS:              c.TlsConfig,
		AuthSecret:       c.AuthSecret,
		HandshakeTimeout: c.ReadTimeout,
		ReadTimeout:      c.ReadTimeout,
		WriteTimeout:     c.WriteTimeout,
		MaxBody:          int(c.MaxMsgSize),
	}
	if c.HeartbeatInterval < 0 {
		cfg.ReadTimeout = 0 // without heartbeats silence means nothing
	} else {
		// One heartbeat may be late.
		cfg.ReadTimeout = max(c.ReadTimeout, 2*cmp.Or(c.HeartbeatInterval, defaultHeartbeat))
	}
	return cfg
}

// dialContext is how a connection is opened, within DialTimeout.
func (c *Config) dialContext() func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := c.DialContext
	if dial == nil {
		dial = c.dialSocket
	}
	if c.DialTimeout <= 0 {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.DialTimeout)
		defer cancel()
		return dial(ctx, network, addr)
	}
}

func (c *Config) dialSocket(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{}
	if network != "unix" {
		d.LocalAddr = c.LocalAddr
	}
	return d.DialContext(ctx, network, addr)
}

func (c *Config) identify() wire.Identify {
	return wire.Identify{
		ClientID:            c.ClientID,
		Hostname:            c.Hostname,
		UserAgent:           c.UserAgent,
		ShortID:             c.ClientID,
		LongID:              c.Hostname,
		FeatureNegotiation:  true,
		HeartbeatInterval:   milliseconds(c.HeartbeatInterval),
		OutputBufferSize:    c.OutputBufferSize,
		OutputBufferTimeout: milliseconds(c.OutputBufferTimeout),
		TLSv1:               c.TlsV1,
		Snappy:              c.Snappy,
		Deflate:             c.Deflate,
		DeflateLevel:        c.DeflateLevel,
		SampleRate:          c.SampleRate,
		MsgTimeout:          milliseconds(c.MsgTimeout),
		TopologyRegion:      c.TopologyRegion,
		TopologyZone:        c.TopologyZone,
	}
}

// milliseconds is a duration as IDENTIFY has it. Whatever is negative is off,
// which is -1.
func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}
