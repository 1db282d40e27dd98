package nsq

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

// defaultHeartbeat is the heartbeat interval of an nsqd that was not asked for one:
// half its client-timeout.
const defaultHeartbeat = 30 * time.Second

// linkConfig returns the configuration of a link to the nsqd at addr. Renewals of
// certificates are logged to log.
func (c *Config) linkConfig(addr string, log *slog.Logger) link.Config {
	cfg := link.Config{
		Addr:             addr,
		Dial:             c.dialContext(),
		Identify:         c.identify(),
		TLS:              c.TlsConfig,
		RenewTLS:         c.renewTLS(log),
		AuthSecret:       c.AuthSecret,
		HandshakeTimeout: c.handshakeTimeout(),
		ReadTimeout:      c.ReadTimeout,
		WriteTimeout:     c.WriteTimeout,
		MaxBody:          int(c.MaxMsgSize),
	}
	if c.HeartbeatInterval < 0 {
		cfg.ReadTimeout = 0 // without heartbeats, silence says nothing about nsqd
	} else {
		// One heartbeat may be late. An nsqd that misses two is dead, however long
		// ReadTimeout is. An interval below 1 ms asks for nsqd's default.
		interval := cmp.Or(c.HeartbeatInterval.Truncate(time.Millisecond), defaultHeartbeat)
		cfg.ReadTimeout = max(2*interval, min(c.ReadTimeout, interval*5/2))
	}
	return cfg
}

// handshakeSlack is how much longer than a dial a handshake may take. nsqd gives a slow
// auth server 5 s, and dial_timeout covers the round trips.
const handshakeSlack = 5 * time.Second

// handshakeTimeout returns the bound of a handshake. A Consumer has few dials under way:
// nsqds that accept and say nothing must not hold them for read_timeout.
func (c *Config) handshakeTimeout() time.Duration {
	if c.DialTimeout <= 0 {
		return c.ReadTimeout
	}
	return min(c.ReadTimeout, c.DialTimeout+handshakeSlack)
}

// dialContext returns a function that opens a connection within DialTimeout.
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

// milliseconds returns d in the unit of IDENTIFY. A negative d becomes -1, which
// switches an option off.
func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

// fromMilliseconds returns a timeout that nsqd reported. The link has checked its range.
func fromMilliseconds(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
