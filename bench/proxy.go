package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"runtime"
	"time"
)

// The proxy puts distance between a client and its server. It is a process of its own, so
// that the client's CPU time and the server's do not include it.

// proxyRole is the argument that makes this program a proxy.
const proxyRole = "proxy"

// proxy is the proxy process. It listens once for each nsqd, prints its addresses as one
// line of JSON, and exits when its standard input ends.
func proxy(ctx context.Context, c Case, servers addresses) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runtime.GOMAXPROCS(2*len(servers.NSQDs) + 4) // each direction may occupy a thread by sleeping
	var listening net.ListenConfig
	where := servers
	where.NSQDs = nil
	for _, server := range servers.NSQDs {
		l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		where.NSQDs = append(where.NSQDs, l.Addr().String())
		go forward(l, server, c.RTT)
	}
	if err := json.NewEncoder(os.Stdout).Encode(where); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// forward connects each client that l accepts with server, rtt away.
func forward(l net.Listener, server string, rtt time.Duration) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = client.Close() }()
			time.Sleep(rtt) // TCP's handshake
			conn, err := net.Dial("tcp", server)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			ended := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{conn, client}, {client, conn}} {
				go func() {
					delayed(way[0], way[1], rtt/2, exactSleep)
					ended <- struct{}{}
				}()
			}
			<-ended
		}()
	}
}

const (
	// proxyRead is the most that the proxy reads at once.
	proxyRead = 64 << 10
	// proxyQueue is how many reads may be on their way in one direction: 64 MiB if each
	// is full, more than a connection here ever has in flight. So the distance does not
	// limit the throughput.
	proxyQueue = 1 << 10
)

// delayed copies from src to dst until either fails. dst gets each byte the given time after
// it was read from src. sleep may return early.
func delayed(dst io.Writer, src io.Reader, by time.Duration, sleep func(time.Duration)) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, proxyQueue)
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		for p := range pieces {
			for wait := time.Until(p.due); wait > 0; wait = time.Until(p.due) {
				sleep(wait)
			}
			if _, err := dst.Write(p.data); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, proxyRead)
	for {
		n, err := src.Read(buf)
		if err != nil {
			break
		}
		select {
		case pieces <- piece{time.Now().Add(by), append([]byte(nil), buf[:n]...)}:
			continue
		case <-failed:
		}
		break
	}
	close(pieces)
	<-failed
}
