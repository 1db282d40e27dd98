// Package client describes what go-nsq and the root package have in common, so
// that a scenario can be played with either. It imports neither. A [Client] wraps
// every function whose signature has a type of theirs.
package client

import (
	"time"
)

// Client creates the objects of one of the two packages. Packages gonsq and rdy
// implement it, with the same source except for an import.
type Client interface {
	NewConfig() Config
	NewConsumer(topic, channel string, config Config) (Consumer, error)
	NewProducer(addr string, config Config) (Producer, error)
	NewConn(addr string, config Config) Conn
	// ErrorName returns the name of the package's error variable that err equals,
	// such as ErrStopped, or "".
	ErrorName(err error) string
	// Type returns the name of err's type and its reason if the type is one of the
	// package's.
	Type(err error) (name, reason string)
}

// Config is a *nsq.Config.
type Config interface {
	Set(option string, value any) error
	Validate() error
}

// Logger is what SetLogger takes.
type Logger interface {
	Output(calldepth int, s string) error
}

// Consumer is a *nsq.Consumer, with wrappers for methods that have types of its
// package.
type Consumer interface {
	ChangeMaxInFlight(maxInFlight int)
	ConnectToNSQD(addr string) error
	ConnectToNSQDs(addrs []string) error
	ConnectToNSQLookupd(addr string) error
	ConnectToNSQLookupds(addrs []string) error
	DisconnectFromNSQD(addr string) error
	DisconnectFromNSQLookupd(addr string) error
	IsStarved() bool
	SetBehaviorDelegate(delegate any)
	Stop()

	HandleNothing() // adds a nil handler
	Handle(handle func(Delivery) error, failed func(Delivery), concurrency int)
	Stopped() <-chan int
	Stats() Stats
}

// Conn is a *nsq.Conn, with wrappers for methods that have types of its package.
type Conn interface {
	Connect() error
	Close() error
	Flush() error
	Nop() error
	Write(p []byte) (int, error)
}

// Stats holds the counts of a *nsq.ConsumerStats.
type Stats struct {
	Received, Finished, Requeued uint64
	Connections                  int
}

// Delivery is a message as a handler receives it.
type Delivery struct {
	Message
	Body        string
	Attempts    uint16
	NSQDAddress string
}

// Message is a *nsq.Message.
type Message interface {
	DisableAutoResponse()
	Finish()
	HasResponded() bool
	IsAutoResponseDisabled() bool
	Requeue(delay time.Duration)
	RequeueWithoutBackoff(delay time.Duration)
	Touch()
}

// Producer is a *nsq.Producer, with wrappers for methods that have types of its
// package.
type Producer interface {
	Publish(topic string, body []byte) error
	MultiPublish(topic string, bodies [][]byte) error
	DeferredPublish(topic string, delay time.Duration, body []byte) error
	Ping() error
	Stop()
	String() string

	// The asynchronous methods return a channel that receives the transaction.
	PublishAsync(topic string, body []byte, args ...any) (<-chan Transaction, error)
	MultiPublishAsync(topic string, bodies [][]byte, args ...any) (<-chan Transaction, error)
	DeferredPublishAsync(topic string, delay time.Duration, body []byte, args ...any) (<-chan Transaction, error)
}

// Transaction is a *nsq.ProducerTransaction.
type Transaction struct {
	Error error
	Args  []any
}
