package nsq

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	defaultUserAgent = "rdyhq-nsq/0.1.0"

	// unknownHost is the host name when the operating system reports none.
	unknownHost = "unknown"
)

// Config holds every option of a Consumer, Producer or Conn, including all of
// go-nsq's. Create it with NewConfig: NewConsumer, NewProducer, Set and Validate
// panic if given a Config{} literal.
//
// Assign fields directly, or set them by name with Set. The opt tag is the option's
// name. The min and max tags are the accepted range, which both Set and Validate check, and
// the default tag is what NewConfig sets; without one it is zero or as the field says. The
// examples show the options that are often misunderstood.
//
// NewConsumer and NewProducer validate the Config and keep a copy: one Config may serve
// many of them, and later changes to it affect none of them. Do not change a Config
// while another goroutine uses it.
type Config struct {
	initialized bool

	// The paths given as tls_cert and tls_key. The key pair is loaded when both are
	// known.
	tlsCertFile, tlsKeyFile string

	// What was read from the files of tls_cert and tls_key, and of tls_root_ca_file.
	// nil without.
	tlsPair  *tlsFile[*tls.Certificate]
	tlsRoots *tlsFile[*x509.CertPool]

	// tlsPairError is why the last Set of tls_cert or tls_key failed. Set has returned
	// it. Validate returns it again, in case the caller ignored it.
	tlsPairError error

	// tlsDecided is true once tls_v1 was set by name. After that no other option
	// switches TLS on.
	tlsDecided bool

	// DialTimeout bounds how long dialling an nsqd takes. The handshake that follows,
	// including TLS and AUTH, may take DialTimeout plus 5 s, but no longer than
	// ReadTimeout. With 0 only the operating system bounds the dial, and ReadTimeout
	// bounds the handshake.
	DialTimeout time.Duration `opt:"dial_timeout" default:"1s"`

	// DialContext opens the connection to an nsqd. network is "tcp" and addr is
	// host:port; for the address of an nsqd that is "unix:" and a path, network is
	// "unix" and addr is the path. nil means a net.Dialer with LocalAddr. A function
	// set here has to apply LocalAddr itself.
	//
	// DialContext is called from several goroutines at once. It must return when
	// ctx ends, which DialTimeout bounds.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) `opt:"dial_context" json:"-" yaml:"-"`

	// ReadTimeout closes a connection on which nothing, not even a heartbeat, arrives
	// for this long. Because one heartbeat may be late, a value below two heartbeat
	// intervals is raised to two; a value above two and a half is lowered to that, since
	// an nsqd that misses two is dead. With heartbeats off, a silent connection is not
	// closed. The value as set also bounds the whole handshake: see DialTimeout.
	ReadTimeout time.Duration `opt:"read_timeout" min:"100ms" max:"5m" default:"60s"`

	// WriteTimeout closes a connection whose socket takes no data for this long. Over
	// TCP and unix sockets the time counts from the last byte taken, and may be exceeded
	// by an eighth. What DialContext returns is closed within twice this time, unless it
	// is a *net.TCPConn or *net.UnixConn.
	WriteTimeout time.Duration `opt:"write_timeout" min:"100ms" max:"5m" default:"1s"`

	// LocalAddr is the source address of TCP connections to nsqd. With nil the
	// operating system chooses it. Set also takes "host:port", and looks up a host
	// name at once.
	LocalAddr net.Addr `opt:"local_addr"`

	// LookupdPollInterval is the time between two regular polls of nsqlookupd; more
	// follow the loss of an nsqd. It is also the longest delay between two attempts to
	// reconnect to an nsqd.
	LookupdPollInterval time.Duration `opt:"lookupd_poll_interval" min:"10ms" max:"5m" default:"60s"`

	// LookupdPollJitter bounds the random delay added to polls, as a share of
	// LookupdPollInterval. It spreads the polls of consumers that start together.
	LookupdPollJitter float64 `opt:"lookupd_poll_jitter" min:"0" max:"1" default:"0.3"`

	// LookupdPollTimeout bounds one request to one nsqlookupd, connecting included.
	// 0 means no bound.
	LookupdPollTimeout time.Duration `opt:"lookupd_poll_timeout" default:"1m"`

	// MaxRequeueDelay caps the automatic delay of a requeue: see
	// DefaultRequeueDelay.
	MaxRequeueDelay time.Duration `opt:"max_requeue_delay" min:"0" max:"60m" default:"15m"`

	// DefaultRequeueDelay is the unit of the automatic delay of a requeue, which is
	// DefaultRequeueDelay times the message's attempts and at most MaxRequeueDelay.
	DefaultRequeueDelay time.Duration `opt:"default_requeue_delay" min:"0" max:"60m" default:"90s"`

	// BackoffPolicy says how a consumer reacts to failures: BackoffStep, the
	// default, or BackoffAdaptive.
	BackoffPolicy BackoffPolicy `opt:"backoff_policy" oneof:"step adaptive" default:"step"`

	// BackoffStrategy computes how long a consumer pauses at each backoff level. nil
	// means an ExponentialStrategy. Set also takes "exponential", "" for the same, and
	// "full_jitter". An ExponentialStrategy or FullJitterStrategy uses the
	// BackoffMultiplier of the Config that holds it.
	BackoffStrategy BackoffStrategy `opt:"backoff_strategy" default:"exponential"`

	// MaxBackoffDuration caps a pause. 0 switches backoff off.
	MaxBackoffDuration time.Duration `opt:"max_backoff_duration" min:"0" max:"60m" default:"2m"`

	// BackoffMultiplier is the unit of ExponentialStrategy and FullJitterStrategy.
	// With 0 they compute no pause, and a consumer pauses for its minimum of 10 ms.
	BackoffMultiplier time.Duration `opt:"backoff_multiplier" min:"0" max:"60m" default:"1s"`

	// MaxAttempts is how many deliveries of a message may reach a handler. The consumer
	// gives up on a message that was delivered more often: it finishes the message
	// without handling it. nsqd counts deliveries to any consumer, including those that
	// timed out or that a stopping consumer requeued. 0 means no limit. With DeadLetter
	// the consumer first stores such a message as a dead letter.
	MaxAttempts uint16 `opt:"max_attempts" min:"0" max:"65535" default:"5"`

	// DeadLetter, if not nil, makes a consumer publish the messages that it cannot handle to
	// a topic of their own: see type DeadLetterPolicy. NewConsumer copies the policy.
	DeadLetter *DeadLetterPolicy `opt:"dead_letter" json:"-" yaml:"-"`

	// RDYStrategy is how a consumer shares MaxInFlight among its nsqds: RDYAdaptive,
	// the default, or RDYUniform.
	RDYStrategy RDYStrategy `opt:"rdy_strategy" oneof:"adaptive uniform" default:"adaptive"`

	// LowRdyIdleTimeout bounds how long an nsqd without messages keeps RDY that other
	// nsqds could use: more than a probe of 1 or, if MaxInFlight is less than the number
	// of nsqds, any at all. The time is usually far shorter: twice OutputBufferTimeout,
	// or 25 ms for an RDY of 1. When no nsqd has had messages for two seconds, and
	// MaxInFlight is less than the number of nsqds, it moves on more and more seldom:
	// after a minute a round of n nsqds takes 2.5 s + n × 125 ms, whatever this option
	// says. The first message then waits for one round at most.
	LowRdyIdleTimeout time.Duration `opt:"low_rdy_idle_timeout" min:"1s" max:"5m" default:"10s"`

	// LowRdyTimeout bounds how long an nsqd with messages keeps its RDY while others
	// with messages have to wait because MaxInFlight is less than the number of nsqds.
	// Values over 250 ms have the effect of 250 ms.
	LowRdyTimeout time.Duration `opt:"low_rdy_timeout" min:"1s" max:"5m" default:"30s"`

	// RDYRedistributeInterval bounds the time between two checks of how RDY is
	// spread over the nsqds while messages arrive. Values over 100 ms have the effect of
	// 100 ms.
	RDYRedistributeInterval time.Duration `opt:"rdy_redistribute_interval" min:"1ms" max:"5s" default:"5s"`

	// ClientID, Hostname and UserAgent appear in nsqd's statistics. They default to
	// the host name up to its first dot, the whole host name ("unknown" for both if
	// there is none), and this package with its version.
	ClientID  string `opt:"client_id"`
	Hostname  string `opt:"hostname"`
	UserAgent string `opt:"user_agent"`

	// TopologyRegion and TopologyZone say where this client runs. An nsqd with the
	// topology-aware experiment prefers clients of its own zone, then of its own
	// region. Empty means not specified.
	TopologyRegion string `opt:"topology_region"`
	TopologyZone   string `opt:"topology_zone"`

	// HeartbeatInterval is the interval at which nsqd is asked to send heartbeats.
	// nsqd accepts 1s up to its own maximum, 60s by default. HeartbeatInterval must
	// not exceed ReadTimeout. 0 means nsqd's default. A negative value (-1 for Set)
	// switches heartbeats off; nsqd refuses consumers without them.
	HeartbeatInterval time.Duration `opt:"heartbeat_interval" default:"30s"`

	// SampleRate, if not 0, makes nsqd deliver SampleRate+1 percent of the channel's
	// messages and discard the others.
	SampleRate int32 `opt:"sample_rate" min:"0" max:"99"`

	// TlsV1 asks nsqd for TLS. Connecting fails with ErrTLSRefused if nsqd does not
	// offer it. Set switches TlsV1 on for any other tls_ option, unless that is
	// empty, nil or false, or tls_v1 itself is set by name, before or after.
	// Assigning TlsConfig does not switch it on.
	TlsV1 bool `opt:"tls_v1"`

	// TlsConfig is used if TlsV1 is on. nil means Go's defaults with the system's
	// roots. If ServerName is empty, it becomes the host of the nsqd's address; a
	// "unix:" address has no host, so set ServerName for it. Set edits a copy of
	// TlsConfig with these options, never the caller's own:
	//
	//	tls_root_ca_file          PEM file with the roots to trust, not the system's
	//	tls_cert, tls_key         PEM files of the client; both or neither
	//	tls_insecure_skip_verify  bool; accept any certificate
	//	tls_min_version           tls1.0, tls1.1, tls1.2 or tls1.3; ssl3.0 means tls1.0
	//
	// Set reads these files and fails if they cannot be used. Each TLS handshake reads
	// them again and uses what has changed: certificates may be renewed in place. If a
	// renewal cannot be used, for example because it is half written, that is logged and
	// the last good one is used. A TlsConfig, Certificates or RootCAs that the program
	// sets after that are left alone.
	TlsConfig *tls.Config `opt:"tls_config"`

	// Deflate asks nsqd for deflate compression at DeflateLevel. The client compresses
	// at that level as well. If nsqd does not offer it, the connection works uncompressed.
	// Deflate excludes Snappy.
	Deflate      bool `opt:"deflate"`
	DeflateLevel int  `opt:"deflate_level" min:"1" max:"9" default:"6"`

	// Snappy asks nsqd for snappy compression. If nsqd does not offer it, the
	// connection works uncompressed. Snappy excludes Deflate.
	Snappy bool `opt:"snappy"`

	// OutputBufferSize is the size in bytes of nsqd's buffer for this connection: 64
	// up to nsqd's own maximum, 65536 by default. 0 means nsqd's default; -1 means no
	// buffer: nsqd sends each message at once, in a system call of its own.
	OutputBufferSize int64 `opt:"output_buffer_size" default:"16384"`

	// OutputBufferTimeout is the longest time that nsqd keeps messages in that
	// buffer while the consumer could take more. It is the latency of a quiet topic
	// if MaxInFlight is over 1. nsqd accepts 25ms to 30s by default. 0 means nsqd's
	// default. A negative value (-1 for Set) means no limit, which only suits an
	// OutputBufferSize of -1.
	OutputBufferTimeout time.Duration `opt:"output_buffer_timeout" default:"250ms"`

	// MaxInFlight is the largest number of messages that a consumer holds at a time,
	// over all its nsqds. 0 pauses the consumer. If it is less than the number of
	// handlers, some of them stay idle. A few times that number keeps them busy; far more
	// makes messages wait in this process while other consumers could handle them. See
	// MaxBytesInFlight for large bodies.
	MaxInFlight int `opt:"max_in_flight" min:"0" default:"1"`

	// MaxBytesInFlight bounds the memory, in bytes, that the bodies of messages in hand
	// take: those that wait for a handler, and those that are not yet acked or requeued.
	// The default is 64 MiB; 0 means no bound. RDY falls before the bound is exceeded, so
	// fewer than MaxInFlight messages come if bodies are large. A message's size is known
	// only when it has come: the first ones are taken for 1 MiB each, later ones for the
	// size of those before them. A message larger than MaxBytesInFlight comes alone.
	//
	// If messages are so much larger than expected that twice MaxBytesInFlight is in hand,
	// connections are read at a trickle until there is less. A single body above that size
	// is not read at all: its message is requeued and reported, unless MaxMsgSize is set
	// and allows it.
	MaxBytesInFlight int64 `opt:"max_bytes_in_flight" min:"0" default:"67108864"`

	// MsgTimeout is how long nsqd waits for a message to be finished or requeued
	// before it delivers the message again. nsqd accepts 1s up to its own maximum,
	// 15m by default. 0 means nsqd's default, which is 60s unless configured. Set it to
	// more than a handler needs, including the time that a message waits for one.
	MsgTimeout time.Duration `opt:"msg_timeout" min:"0"`

	// AutoTouch makes the Consumer send TOUCH for messages whose handlers are running,
	// each time only half of the msg-timeout is left (half of the shortest one, if those
	// of the nsqds differ). It does so until the handler has run for this long, or until
	// nsqd's max-msg-timeout allows no more. 0 is off. See Message.Touch.
	AutoTouch time.Duration `opt:"auto_touch" min:"0"`

	// RecycleBodies makes the Consumer reuse the memory of bodies once their messages
	// are finished or requeued. A handler must not keep a body or a part of it, nor
	// read it after [Message.Finish] or [Message.Requeue]. The Message itself may be
	// kept.
	//
	// This saves most of the garbage that a Consumer makes, which matters at some
	// hundred thousand messages or some hundred megabytes a second. Bodies over 64
	// KiB are not recycled, nor are bodies that arrive with less than 4 KiB in all.
	// Programs built with the race detector overwrite recycled bodies, so that the
	// detector reports a handler that still reads one.
	RecycleBodies bool `opt:"recycle_bodies"`

	// MaxMsgSize is the largest message body in bytes that is accepted, from nsqd
	// and by the publish methods. 0 means no limit, except that a Consumer does not read
	// a body of more than twice MaxBytesInFlight.
	MaxMsgSize int32 `opt:"max_msg_size" min:"0"`

	// PackPublishes lets a Producer send single messages that wait for the same write as
	// one MPUB, if they are next to each other and to the same topic. nsqd replies once to
	// all of them, which costs it and the client a fraction. No publish waits for others: one
	// that finds none is sent as PUB at once. DeferredPublish is never packed.
	//
	// A pack is at most 64 KiB long, and holds only messages that are no larger than one that
	// nsqd has accepted on the connection before. Each publish gets its own result. That is
	// less exact in one case: if nsqd fails midway in a pack (E_MPUB_FAILED), any of its
	// messages may be stored, and the outcome is unknown. If nsqd refuses a pack, for example
	// because its max-body-size is below 64 KiB, nothing is stored, and the messages are
	// published again singly, except those of PublishAsync, which fail with [ErrNotSent].
	// After either, a minute passes until publishes to that nsqd are packed again.
	PackPublishes bool `opt:"pack_publishes" default:"true"`

	// AuthSecret is sent to an nsqd that asks for authentication. With TlsV1 it is
	// never sent to an nsqd unencrypted; without, one warning for each nsqd says that it
	// was. Package fmt and package slog show "[redacted]" in its place. json.Marshal writes
	// it, so that a Config can be stored; it fails if TlsConfig is set.
	AuthSecret string `opt:"auth_secret"`

	// LookupdAuthorization sends AuthSecret to nsqlookupds as well, as a bearer
	// token. The option's name suggests the opposite but sets this field to the
	// value given: Set("skip_lookupd_authorization", false) withholds the token.
	LookupdAuthorization bool `opt:"skip_lookupd_authorization" default:"true"`

	// Logger receives the log as structured records, until one of the SetLogger
	// methods replaces it. With nil a Consumer or Producer writes lines to standard
	// error, at level Info and above. Connections and the Consumer wait for Logger,
	// so it must not block, nor call back into the Consumer or Producer.
	//
	// What repeats, such as failed dials of an nsqd that is down, is logged at once and
	// then at growing intervals, up to ten minutes. The attribute more counts the repeats
	// that were not logged, and since is the time of the last one that was.
	Logger *slog.Logger `opt:"logger"`

	// Hooks are called when something happens, in this order: see type Hooks.
	Hooks []Hooks `opt:"hooks" json:"-" yaml:"-"`

	// StuckAfter is how long a handler may still be at work after its message's lease has
	// ended. After that Consumer.Health, and so the liveness probe of package health, takes
	// it for stuck. With AutoTouch the time counts from the latest end that the lease can
	// have. A lost connection does not shorten it. Set it to more than any handler that
	// ignores Message.Context can need. With 0 no handler is taken for stuck.
	StuckAfter time.Duration `opt:"stuck_after" min:"0" default:"5m"`

	// StopTimeout bounds how long Stop and Run wait for running handlers, and for
	// nsqd to take the last FINs and REQs. With 0 they do not wait: nsqd delivers the
	// messages of running handlers again after its msg-timeout. Shutdown is bounded by
	// its context instead.
	StopTimeout time.Duration `opt:"stop_timeout" min:"0" default:"30s"`
}

// RDYStrategy is how a Consumer shares max_in_flight among its nsqds.
type RDYStrategy string

const (
	// RDYAdaptive follows the traffic. An nsqd without messages keeps an RDY of
	// 1, which shows when messages arrive; nsqds with messages get the rest.
	// Without traffic the split is even. If max_in_flight is less than the number of
	// nsqds, or hardly more when a single nsqd could use it all, idle nsqds take turns
	// with an eighth of it, and nsqds with messages have the rest.
	RDYAdaptive RDYStrategy = "adaptive"
	// RDYUniform splits evenly whatever the traffic, as go-nsq does, but also
	// hands out the remainder. If max_in_flight is less than the number of nsqds, all
	// nsqds take turns.
	RDYUniform RDYStrategy = "uniform"
)

// requeueDelay returns the automatic delay of a message after this many attempts.
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

// localHost returns the name that hostname returns, or unknownHost if that fails: a
// library must not end the process over a label.
func localHost(hostname func() (string, error)) string {
	name, err := hostname()
	if err != nil || name == "" {
		return unknownHost
	}
	return name
}

// Validate returns an error if a field is out of its range or if fields contradict
// each other: HeartbeatInterval above ReadTimeout, Deflate together with Snappy,
// tls_cert without tls_key, or tls_key without tls_cert. It also returns an error if
// DeadLetter has no To, an invalid or ephemeral Topic, or an After above MaxAttempts.
// NewConsumer and NewProducer call it.
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
		if c.tlsPairError != nil {
			return c.tlsPairError
		}
		return errors.New("tls_cert and tls_key must be set together")
	}
	return c.DeadLetter.validate(c.MaxAttempts)
}

// options yields the fields that are options. Their opt tags are the only list of the
// options, except for those in tlsOptions, which have no field.
func (c *Config) options() iter.Seq2[reflect.StructField, reflect.Value] {
	return func(yield func(reflect.StructField, reflect.Value) bool) {
		for field, value := range reflect.ValueOf(c).Elem().Fields() {
			if _, ok := field.Tag.Lookup("opt"); ok && !yield(field, value) {
				return
			}
		}
	}
}

// mustBeInitialized panics if c is nil or not from NewConfig: the zero values of a
// literal would be taken for settings.
func (c *Config) mustBeInitialized() {
	if c == nil || !c.initialized {
		panic("Config{} must be created with NewConfig()")
	}
}

// clone returns the copy that a Consumer, Producer or Conn keeps. Later changes to c
// do not reach it.
func (c *Config) clone() *Config {
	d := *c
	d.TlsConfig = c.TlsConfig.Clone()
	d.Hooks = slices.Clone(c.Hooks)
	d.BackoffStrategy = bindStrategy(c.BackoffStrategy, &d.BackoffMultiplier)
	return &d
}
