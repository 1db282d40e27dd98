package broker

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	severInterval = 5 * time.Millisecond
	// severRounds bounds the rounds before Exit. Clients may reconnect after each,
	// because only Exit closes the listener.
	severRounds = 20
)

// daemon is one nsqd, nsqlookupd or nsqadmin. All three work alike: their
// listeners are open before Main is called, Main serves them until Exit is
// called, and Exit waits for the goroutines that Main has started.
type daemon struct {
	name  string
	main  func() error
	exit  func()
	addrs []net.Addr // where it listens, HTTP first
	ended chan error // receives the result of main
}

func newDaemon(name string, main func() error, exit func(), addrs ...net.Addr) *daemon {
	return &daemon{name: name, main: main, exit: exit, addrs: addrs, ended: make(chan error, 1)}
}

// probe keeps no connection open after a request.
var probe = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   10 * time.Second,
}

// start runs the daemon and returns when it responds. No context bounds the
// wait: Exit must not be called before Main has begun, and only a response
// proves that it has. The wait takes milliseconds, since the listeners are open
// already.
func (d *daemon) start() error {
	go func() { d.ended <- d.main() }()
	resp, err := probe.Get("http://" + d.addrs[0].String() + "/ping")
	if err != nil {
		return fmt.Errorf("%s does not respond: %w", d.name, err)
	}
	return resp.Body.Close()
}

// stop stops the daemon and waits until it has no connection left. If nsqd ran
// in a process of its own, its exit would close them all. Here sever does, in
// three steps:
//
//  1. Before Exit it severs the clients. An nsqd that exits while it delivers
//     messages can miss one when it writes those in memory to disk.
//  2. During Exit it severs the connections for which Exit waits without
//     closing them: those that have not sent NSQ's opening bytes, or that sent
//     them while Exit went through its list.
//  3. After Exit it severs the HTTP connections that clients keep alive, which
//     Exit leaves open.
func (d *daemon) stop() error {
	tick := time.NewTicker(severInterval)
	defer tick.Stop()
	for range severRounds {
		if sever(d.addrs[1:]) == 0 {
			break
		}
		<-tick.C
	}
	exited := make(chan error, 1)
	go func() {
		d.exit()
		exited <- <-d.ended
	}()
	for running := true; ; {
		select {
		case err := <-exited:
			if err != nil {
				return fmt.Errorf("%s failed: %w", d.name, err)
			}
			running = false
		case <-tick.C:
		}
		if open := sever(d.addrs); !running && open == 0 {
			return nil
		}
	}
}
