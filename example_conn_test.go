package nsq_test

import (
	"fmt"
	"log"

	"github.com/rdyhq/nsq"
)

// printer is a ConnDelegate that prints messages and responses. It acks each message,
// asks nsqd to send no more, and closes the Conn when nsqd has confirmed that.
type printer struct{ closed chan struct{} }

var _ nsq.ConnDelegate = (*printer)(nil)

func (*printer) OnMessage(c *nsq.Conn, m *nsq.Message) {
	fmt.Printf("message %s\n", m.Body)
	m.Finish()
	if err := c.WriteCommand(nsq.StartClose()); err != nil {
		log.Print(err)
	}
}

func (*printer) OnResponse(c *nsq.Conn, data []byte) {
	fmt.Printf("response %s\n", data)
	if string(data) == "CLOSE_WAIT" {
		_ = c.Close()
	}
}

func (p *printer) OnClose(*nsq.Conn) { close(p.closed) }

func (*printer) OnError(_ *nsq.Conn, data []byte)          { log.Printf("error %s", data) }
func (*printer) OnIOError(_ *nsq.Conn, err error)          { log.Print(err) }
func (*printer) OnMessageFinished(*nsq.Conn, *nsq.Message) {}
func (*printer) OnMessageRequeued(*nsq.Conn, *nsq.Message) {}
func (*printer) OnBackoff(*nsq.Conn)                       {}
func (*printer) OnContinue(*nsq.Conn)                      {}
func (*printer) OnResume(*nsq.Conn)                        {}
func (*printer) OnHeartbeat(*nsq.Conn)                     {}

// A program that speaks NSQ's protocol itself.
func ExampleConn() {
	nsqd, stop := startNSQD("pen")
	defer stop()
	p := &printer{closed: make(chan struct{})}
	conn := nsq.NewConn(nsqd.Addr(), nsq.NewConfig(), p)
	identified, err := conn.Connect()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("nsqd accepts an RDY of", identified.MaxRdyCount)
	for _, cmd := range []*nsq.Command{nsq.Subscribe("orders", "billing"), nsq.Ready(1)} {
		if err := conn.WriteCommand(cmd); err != nil {
			log.Fatal(err)
		}
	}
	<-p.closed
	// Output:
	// nsqd accepts an RDY of 2500
	// response OK
	// message pen
	// response CLOSE_WAIT
}
