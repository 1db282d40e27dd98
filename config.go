package nsq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"reflect"
	"strings"
	"time"
)

const (
	defaultUserAgent = "rdyhq-nsq/0.1.0"

	// unknownHost stands in for a host name that the operating system does not
	// tell.
	unknownHost = "unknown"
)

// Config holds every option of a Consumer or Producer. Create it with
// NewConfig; a Config{} literal makes NewConsumer, NewProducer, Set and
// Validate panic.
//
// Assign fields directly or by name with Set. The opt tag is the name of the
// option; min and max are the accepted range, checked by Set and again by
// Validate. NewConsumer and NewProducer validate the Config and keep a copy of
// their own: one Config may serve many of them, and changing it later changes
// none of them. A Config that is being changed must not be used by another
// goroutine.
//
// All of go-nsq's options are here.
type Config struct {
	initialized bool

	// Paths given as tls_cert and tls_key; the pair is loaded once both are
	// known.
	tlsCertFile, tlsKeyFile string

	// tls_v1 was set by name: no other option switches it on.
	tlsDecided bool

	// DialTimeout bounds the opening of a connection to an nsqd, without the handshake. 0 is no bound but the operating
	// system's.
	DialTimeout time.Duration `opt:"dial_timeout" default:"1s"`

	// DialContext opens the connection to an nsqd. network is "tcp"; for the address of an nsqd that is "unix:" and a path
	// it is "unix", and addr the path. nil uses a net.Dialer with LocalAddr, which a function
	// set here has to apply itself if it wants it. It is called from several goroutines at once and must return when ctx
	// ends, which it does after DialTimeout, too.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) `opt:"dial_context" json:"-" yaml:"-"`

	// ReadTimeout closes a connection on which nothing, not even a heartbeat,
	// arrived for this long; or for two heartbeat intervals if that is longer,
	// since a heartbeat may be late. With heartbeats off silence is accepted.
	// As it stands it also bounds the handshake, TLS and AUTH included.
	ReadTimeout time.Duration `opt:"read_timeout" min:"100ms" max:"5m" default:"60s"`

	// WriteTimeout closes a connection whose socket takes no data for this
	// long.
	WriteTimeout time.Duration `opt:"write_timeout" min:"100ms" max:"5m" default:"1s"`

	// LocalAddr is the source address of TCP connections to nsqd. nil lets the
	// operating system choose. Set also takes "host:port"; a host name, unlike
	// an IP address, is looked up at once.
	LocalAddr net.Addr `opt:"local_addr"`

	// LookupdPollInterval is the time between two polls of nsqlookupd, and the
	// longest wait between two attempts to reconnect to an nsqd.
	LookupdPollInterval time.Duration `opt:"lookupd_poll_interval" min:"10ms" max:"5m" default:"60s"`

	// LookupdPollJitter is the largest random delay of the polls, as a share
	// of LookupdPollInterval. It keeps many consumers that start together from
	// polling together.
	LookupdPollJitter float64 `opt:"lookupd_poll_jitter" min:"0" max:"1" default:"0.3"`

	// LookupdPollTimeout bounds one request to one nsqlookupd, connecting
	// included. 0 is no bound.
	LookupdPollTimeout time.Duration `opt:"lookupd_poll_timeout" default:"1m"`

	// MaxRequeueDelay is the cap of the automatic delay of a requeue (see
	// DefaultRequeueDelay).
	MaxRequeueDelay time.Duration `opt:"max_requeue_delay" min:"0" max:"60m" default:"15m"`

	// DefaultRequeueDelay is the unit of the automatic delay: a message is
	// requeued for this long times its attempts, at most MaxRequeueDelay.
	DefaultRequeueDelay time.Duration `opt:"default_requeue_delay" min:"0" max:"60m" default:"90s"`

	// BackoffPolicy is what failures do: BackoffStep, the default, or
	// BackoffAdaptive.
	BackoffPolicy BackoffPolicy `opt:"backoff_policy" oneof:"step adaptive" default:"step"`

	// BackoffStrategy tells how long a consumer pauses at each backoff level.
	// nil is an ExponentialStrategy. Set also takes "exponential" (or "") and
	// "full_jitter". An ExponentialStrategy or FullJitterStrategy follows the
	// BackoffMultiplier of the Config that it is in.
	BackoffStrategy BackoffStrategy `opt:"backoff_strategy" default:"exponential"`

	// MaxBackoffDuration is the longest pause; levels whose pause would exceed
	// it pause for that long. 0 switches backoff off.
	MaxBackoffDuration time.Duration `opt:"max_backoff_duration" min:"0" max:"60m" default:"2m"`

	// BackoffMultiplier is the unit of the two strategies. 0 makes their
	// pauses as short as pauses can be: 10 ms.
	BackoffMultiplier time.Duration `opt:"backoff_multiplier" min:"0" max:"60m" default:"1s"`

	// MaxAttempts is how often nsqd may have delivered a message, to any
	// consumer, for it to be given to a handler; beyond that the consumer gives
	// up and finishes it. Timeouts, and what a stopping consumer gives back,
	// count. 0 is no limit.
	MaxAttempts uint16 `opt:"max_attempts" min:"0" max:"65535" default:"5"`

	// RDYStrategy is how MaxInFlight is shared over the nsqds: RDYAdaptive, the
	// default, or RDYUniform.
	RDYStrategy RDYStrategy `opt:"rdy_strategy" oneof:"adaptive uniform" default:"adaptive"`

	// LowRdyIdleTimeout is an upper bound of how long an nsqd without messages
	// keeps more RDY than a probe, or with fewer slots than nsqds any, while
	// others could use it. It is mostly far shorter: twice OutputBufferTimeout,
	// or 25 ms for an RDY of 1.
	LowRdyIdleTimeout time.Duration `opt:"low_rdy_idle_timeout" min:"1s" max:"5m" default:"10s"`

	// LowRdyTimeout is an upper bound of how long an nsqd with messages keeps
	// its RDY while others with messages, and fewer slots than nsqds, wait for
	// one. It is 250 ms at most.
	LowRdyTimeout time.Duration `opt:"low_rdy_timeout" min:"1s" max:"5m" default:"30s"`

	// RDYRedistributeInterval is an upper bound of the time between two looks at
	// how RDY is spread over the nsqds while there are messages. It is 100 ms at
	// most.
	RDYRedistributeInterval time.Duration `opt:"rdy_redistribute_interval" min:"1ms" max:"5s" default:"5s"`

	// ClientID, Hostname and UserAgent are told to nsqd, which shows them in
	// its statistics. Defaults: the host name up to its first dot, the whole
	// host name (both "unknown" if there is none), and this package with its
	// version.
	ClientID  string `opt:"client_id"`
	Hostname  string `opt:"hostname"`
	UserAgent string `opt:"user_agent"`

	// TopologyRegion and TopologyZone say where this client runs. An nsqd with
	// the topology-aware experiment prefers clients of its own zone, then of
	// its own region. Empty is nowhere.
	TopologyRegion string `opt:"topology_region"`
	TopologyZone   string `opt:"topology_zone"`

	// HeartbeatInterval is the time between heartbeats asked of nsqd, which
	// accepts 1s up to its own maximum (60s by default). It must not exceed
	// ReadTimeout. 0 is nsqd's default, negative (-1 for Set) is off; nsqd
	// refuses consumers without heartbeats.
	HeartbeatInterval time.Duration `opt:"heartbeat_interval" default:"30s"`

	// SampleRate, if not 0, has nsqd deliver that percentage of the channel's
	// messages, and one percent more, and discard the others.
	SampleRate int32 `opt:"sample_rate" min:"0" max:"99"`

	// TlsV1 asks nsqd for TLS, and fails to connect, with ErrTLSRefused, if nsqd
	// does not offer it. Setting any other tls_ option by name with Set switches
	// it on, unless it is empty, nil or false, or tls_v1 is set by name, too, before
	// or after; assigning TlsConfig does not.
	TlsV1 bool `opt:"tls_v1"`

	// TlsConfig is used if TlsV1 is on. nil is Go's defaults with the system's
	// roots. An empty ServerName is filled with the host of the nsqd's
	// address; a "unix:" address has none, so that it has to be set. Set edits a copy of it with these options, so the caller's own
	// is never changed:
	//
	//	tls_root_ca_file          path of a PEM file with the roots to trust, instead of the system's
	//	tls_cert, tls_key         paths of PEM files with the client's certificate and key, loaded once both are set
	//	tls_insecure_skip_verify  bool; accept any certificate
	//	tls_min_version           tls1.0, tls1.1, tls1.2 or tls1.3; ssl3.0 means the oldest that Go speaks, tls1.0
	TlsConfig *tls.Config `opt:"tls_config"`

	// Deflate asks nsqd for deflate compression, and for DeflateLevel, which is
	// also ours. If nsqd does not offer it, the connection goes on without. It
	// excludes Snappy.
	Deflate      bool `opt:"deflate"`
	DeflateLevel int  `opt:"deflate_level" min:"1" max:"9" default:"6"`

	// Snappy asks nsqd for snappy compression. If nsqd does not offer it, the
	// connection goes on without. It excludes Deflate.
	Snappy bool `opt:"snappy"`

	// OutputBufferSize is the size in bytes of nsqd's buffer for this
	// connection: 64 up to its own maximum (65536 by default), 0 for its
	// default, or -1 for none. Without a buffer each message leaves nsqd at
	// once, at one system call each.
	OutputBufferSize int64 `opt:"output_buffer_size" default:"16384"`

	// OutputBufferTimeout is the longest time that nsqd keeps messages in that
	// buffer while the consumer could take more: on a quiet topic with a
	// MaxInFlight over 1, the latency. nsqd accepts 25ms to 30s by default. 0
	// is nsqd's default, negative (-1 for Set) is no limit, which only suits
	// an OutputBufferSize of -1.
	OutputBufferTimeout time.Duration `opt:"output_buffer_timeout" default:"250ms"`

	// MaxInFlight is how many messages a consumer has in hand at most, over
	// all its nsqds. 0 pauses it. Fewer than the handlers added leaves some of
	// them idle.
	MaxInFlight int `opt:"max_in_flight" min:"0" default:"1"`

	// MsgTimeout is how long nsqd waits for the answer to a message before it
	// delivers it again. nsqd accepts 1s up to its own maximum (15m by
	// default); 0 is nsqd's default.
	MsgTimeout time.Duration `opt:"msg_timeout" min:"0"`

	// AutoTouch has the Consumer send TOUCH for a message whose handler is at
	// work when half of its lease is left, or of the shortest that any nsqd
	// grants; for this long from when the handler began, and within nsqd's
	// max-msg-timeout. 0 is off. See Message.Touch.
	AutoTouch time.Duration `opt:"auto_touch" min:"0"`

	// RecycleBodies has the Consumer use the memory of bodies again once their
	// messages are answered: a handler must neither keep a body, nor any part of
	// it, nor look at it after [Message.Finish] or [Message.Requeue]. It saves
	// most of the garbage that a Consumer makes, which counts at some hundred
	// thousand messages a second, or some hundred megabytes. Programs built with
	// the race detector overwrite the body of a message that was answered, and
	// report who still reads it. Bodies over 64 KiB are not recycled, nor are
	// those that arrive with less than 4 KiB in all. The Message itself may be
	// kept as always.
	RecycleBodies bool `opt:"recycle_bodies"`

	// MaxMsgSize is the largest message body accepted, in bytes: from nsqd, and
	// by the publish methods. 0 is no limit.
	MaxMsgSize int32 `opt:"max_msg_size" min:"0"`

	// AuthSecret is what nsqd is given if it asks for authentication. With TlsV1
	// it never crosses in clear.
	AuthSecret string `opt:"auth_secret"`

	// LookupdAuthorization sends AuthSecret to nsqlookupd too, as a bearer
	// token. The name of the option suggests the opposite but sets this field
	// as it stands: Set("skip_lookupd_authorization", false) is what withholds
	// the token.
	LookupdAuthorization bool `opt:"skip_lookupd_authorization" default:"true"`

	// Logger receives the log as structured records, until one of the
	// SetLogger methods replaces it. nil writes lines to standard error, at
	// level Info and above. Connections and the Consumer wait for it, so it must
	// not block, nor call back into the Consumer or Producer.
	Logger *slog.Logger `opt:"logger"`

	// StopTimeout bounds how long Stop and Run wait for handlers at work, and for
	// nsqd to take the last answers. 0 does not wait: messages in handlers' hands
	// come again after nsqd's timeout. Shutdown has its context instead.
	StopTimeout time.Duration `opt:"stop_timeout" min:"0" default:"30s"`
}

// RDYStrategy is the way a Consumer shares max_in_flight among its nsqds.
type RDYStrategy string

const (
	// RDYAdaptive follows the traffic. An nsqd without messages keeps an RDY of
	// 1, which shows when messages arrive; nsqds with messages get the rest.
	// Without traffic the split is even. With fewer slots than nsqds, or hardly
	// more when a single nsqd could use them all, idle nsqds take turns for an
	// eighth of the slots, and nsqds with messages have the others.
	RDYAdaptive RDYStrategy = "adaptive"
	// RDYUniform splits evenly whatever the traffic, as go-nsq does, but also
	// hands out the remainder. With fewer slots than nsqds, all nsqds take turns.
	RDYUniform RDYStrategy = "uniform"
)

// requeueDelay is the automatic delay after so many attempts.
func (c *Config) requeueDelay(attempts uint16) time.Duration {
	return min(c.DefaultRequeueDelay*time.Duration(attempts), c.MaxRequeueDelay)
}

// NewConfig returns a Config with the default of every option. It never fails.
func NewConfig() *Config {
	host := localHost(os.Hostname)
	clientID, _, _ := strings.Cut(host, ".")
	c := &Config{initialized: true, ClientID: clientID, Hostname: host, UserAgent: defaultUserAgent}
	for option, value := range c.options() {
		if tag, ok := option.Tag.Lookup("default"); ok {
			value.Set(tagValue(tag, option.Type))
		}
	}
	c.BackoffStrategy = bindStrategy(c.BackoffStrategy, &c.BackoffMultiplier)
	return c
}

// localHost is the name that hostname returns, or unknownHost: a library must
// not end a process over a label.
func localHost(hostname func() (string, error)) string {
	name, err := hostname()
	if err != nil || name == "" {
		return unknownHost
	}
	return name
}

// Validate returns an error if a field is out of its range, or if fields
// contradict each other: HeartbeatInterval above ReadTimeout, Deflate together
// with Snappy, tls_cert without tls_key or the reverse. NewConsumer and
// NewProducer call it.
func (c *Config) Validate() error {
	c.mustBeInitialized()
	for option, value := range c.options() {
		if err := checkRange(option.Name, option, value); err != nil {
			return err
		}
	}
	switch {
	case c.HeartbeatInterval > c.ReadTimeout:
		return fmt.Errorf("HeartbeatInterval %v must be less than ReadTimeout %v", c.HeartbeatInterval, c.ReadTimeout)
	case c.Deflate && c.Snappy:
		return errors.New("cannot enable both Deflate and Snappy")
	case (c.tlsCertFile == "") != (c.tlsKeyFile == ""):
		return errors.New("tls_cert and tls_key must be set together")
	}
	return nil
}

// options yields the fields that are options. The opt tags of Config are the
// only list of them, but for those that edit TlsConfig and have no field.
func (c *Config) options() iter.Seq2[reflect.StructField, reflect.Value] {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		for field, value := range reflect.ValueOf(c).Elem().Fields() {
			if _, ok := field.Tag.Lookup("opt"); ok && !yield(field, value) {
				return
			}
		}
	}
}

// mustBeInitialized panics if c is nil or does not stem from NewConfig: its
// zeros would be taken for settings.
func (c *Config) mustBeInitialized() {
	if c == nil || !c.initialized {
		panic("Config{} must be created with NewConfig()")
	}
}

// clone is the copy that a Consumer or Producer keeps: nothing that is done to
// c afterwards reaches it.
func (c *Config) clone() *Config {
	d := *c
	d.TlsConfig = c.TlsConfig.Clone()
	d.BackoffStrategy = bindStrategy(c.BackoffStrategy, &d.BackoffMultiplier)
	return &d
}
