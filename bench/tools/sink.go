package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"sync/atomic"
)

// sink is an HTTP server that takes each request with a body of a known length. It does no
// more than it has to: net/http would take more CPU than the tools, which run beside it.
type sink struct {
	listener net.Listener
	requests atomic.Int64
}

func startSink(ctx context.Context) (*sink, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l}
	go s.accept()
	return s, nil
}

func (s *sink) addr() string { return s.listener.Addr().String() }

// taken returns how many requests there have been.
func (s *sink) taken() int64 { return s.requests.Load() }

// stop ends accept. The connections end with the tools.
func (s *sink) stop() { _ = s.listener.Close() }

func (s *sink) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.serve(conn)
	}
}

// serve responds to the requests of a connection until it ends.
func (s *sink) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		length, err := readHead(in)
		if err == nil {
			_, err = in.Discard(length)
		}
		if err == nil {
			s.requests.Add(1)
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		if err != nil {
			return
		}
	}
}

// readHead reads a request up to its body, and returns the length of the body.
func readHead(in *bufio.Reader) (length int, err error) {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return length, nil
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}
