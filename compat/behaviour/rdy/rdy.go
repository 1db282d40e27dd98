// Package rdy plays scenarios with the root package.
package rdy

import (
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/compat/behaviour/client"
)

// Client creates the objects of package nsq.
type Client struct{}

// NewConfig returns a *nsq.Config.
func (Client) NewConfig() client.Config { return nsq.NewConfig() }

// NewConsumer returns a Consumer that logs nothing.
func (Client) NewConsumer(topic, channel string, config client.Config) (client.Consumer, error) {
	c, err := nsq.NewConsumer(topic, channel, config.(*nsq.Config))
	if err != nil {
		return nil, err
	}
	c.SetLogger(nil, nsq.LogLevelError)
	return consumer{c}, nil
}

// NewProducer returns a Producer that logs nothing.
func (Client) NewProducer(addr string, config client.Config) (client.Producer, error) {
	p, err := nsq.NewProducer(addr, config.(*nsq.Config))
	if err != nil {
		return nil, err
	}
	p.SetLogger(nil, nsq.LogLevelError)
	return producer{p}, nil
}

// ErrorName compares with ==, as programs for go-nsq do.
func (Client) ErrorName(err error) string {
	switch err {
	case nsq.ErrAlreadyConnected: //nolint:errorlint // that is the point
		return "ErrAlreadyConnected"
	case nsq.ErrClosing:
		return "ErrClosing"
	case nsq.ErrNotConnected:
		return "ErrNotConnected"
	case nsq.ErrOverMaxInFlight:
		return "ErrOverMaxInFlight"
	case nsq.ErrStopped:
		return "ErrStopped"
	}
	return ""
}

// Type uses a type assertion, as programs for go-nsq do.
func (Client) Type(err error) (name, reason string) {
	switch err := err.(type) { //nolint:errorlint // that is the point
	case nsq.ErrIdentify:
		return "ErrIdentify", err.Reason
	case nsq.ErrProtocol:
		return "ErrProtocol", err.Reason
	}
	return "", ""
}

// NewConn returns a Conn whose delegate drops everything.
func (Client) NewConn(addr string, config client.Config) client.Conn {
	return conn{nsq.NewConn(addr, config.(*nsq.Config), delegate{})}
}

type conn struct{ *nsq.Conn }

func (c conn) Connect() error {
	_, err := c.Conn.Connect()
	return err
}

func (c conn) Nop() error { return c.WriteCommand(nsq.Nop()) }

type delegate struct{}

func (delegate) OnResponse(*nsq.Conn, []byte)              {}
func (delegate) OnError(*nsq.Conn, []byte)                 {}
func (delegate) OnMessage(*nsq.Conn, *nsq.Message)         {}
func (delegate) OnMessageFinished(*nsq.Conn, *nsq.Message) {}
func (delegate) OnMessageRequeued(*nsq.Conn, *nsq.Message) {}
func (delegate) OnBackoff(*nsq.Conn)                       {}
func (delegate) OnContinue(*nsq.Conn)                      {}
func (delegate) OnResume(*nsq.Conn)                        {}
func (delegate) OnIOError(*nsq.Conn, error)                {}
func (delegate) OnHeartbeat(*nsq.Conn)                     {}
func (delegate) OnClose(*nsq.Conn)                         {}

type consumer struct{ *nsq.Consumer }

func (c consumer) HandleNothing() { c.AddHandler(nil) }

func (c consumer) Handle(handle func(client.Delivery) error, failed func(client.Delivery), concurrency int) {
	c.AddConcurrentHandlers(handler{handle, failed}, concurrency)
}

func (c consumer) Stopped() <-chan int { return c.StopChan }

func (c consumer) Stats() client.Stats {
	s := c.Consumer.Stats()
	return client.Stats{
		Received:    s.MessagesReceived,
		Finished:    s.MessagesFinished,
		Requeued:    s.MessagesRequeued,
		Connections: s.Connections,
	}
}

type handler struct {
	handle func(client.Delivery) error
	failed func(client.Delivery)
}

func (h handler) HandleMessage(m *nsq.Message) error { return h.handle(delivery(m)) }

func (h handler) LogFailedMessage(m *nsq.Message) { h.failed(delivery(m)) }

func delivery(m *nsq.Message) client.Delivery {
	return client.Delivery{Message: m, Body: string(m.Body), Attempts: m.Attempts, NSQDAddress: m.NSQDAddress}
}

type producer struct{ *nsq.Producer }

func (p producer) PublishAsync(topic string, body []byte, args ...any) (<-chan client.Transaction, error) {
	done := make(chan *nsq.ProducerTransaction, 1)
	if err := p.Producer.PublishAsync(topic, body, done, args...); err != nil {
		return nil, err
	}
	return transactions(done), nil
}

func (p producer) MultiPublishAsync(topic string, bodies [][]byte, args ...any) (<-chan client.Transaction, error) {
	done := make(chan *nsq.ProducerTransaction, 1)
	if err := p.Producer.MultiPublishAsync(topic, bodies, done, args...); err != nil {
		return nil, err
	}
	return transactions(done), nil
}

func (p producer) DeferredPublishAsync(topic string, delay time.Duration, body []byte, args ...any) (<-chan client.Transaction, error) {
	done := make(chan *nsq.ProducerTransaction, 1)
	if err := p.Producer.DeferredPublishAsync(topic, delay, body, done, args...); err != nil {
		return nil, err
	}
	return transactions(done), nil
}

func transactions(done <-chan *nsq.ProducerTransaction) <-chan client.Transaction {
	out := make(chan client.Transaction, 1)
	go func() {
		t := <-done
		out <- client.Transaction{Error: t.Error, Args: t.Args}
	}()
	return out
}
