package broker

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	severInterval = 5 * time.Millisecond
	severRounds   = 20 // before Exit closes the listener too, against clients that come back at once
)

// daemon is one nsqd, nsqlookupd or nsqadmin. All three have the same shape: listeners that are open already, a Main
// that serves them until Exit, and an Exit that waits for what Main has started.
type daemon struct {
	name  string
	main  func() error
	exit  func()
	addrs []net.Addr // what it listens on, HTTP first
	ended chan error // gets what main returned
}

func newDaemon(name string, main func() error, exit func(), addrs ...net.Addr) *daemon {
	return &daemon{name: name, main: main, exit: exit, addrs: addrs, ended: make(chan error, 1)}
}

// probe asks without keeping connections, so that nothing of it is left when the answer is there.
var probe = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   10 * time.Second,
}

// start runs the daemon and returns when it answers. This is not bounded by a context, because Exit may only be called
// when Main has begun: the answer is the proof. It takes milliseconds, as the listener is open from the beginning.
func (d *daemon) start() error {
	go func() { d.ended <- d.main() }()
	resp, err := probe.Get("http://" + d.addrs[0].String() + "/ping")
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", d.name, err)
	}
	return resp.Body.Close()
}

// stop ends the daemon and waits for it. Clients go first: an nsqd that exits while it hands out messages can miss one
// when it writes those in memory to disk. Nor are Exit and the end of Main the whole of it: Exit waits for connections
// it does not know of (those that have not sent NSQ's opening bytes, or sent them at the wrong moment), and forgets HTTP
// connections that clients keep alive. The end of a process would close them all; here sever does.
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
