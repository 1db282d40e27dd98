package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

const (
	// httpTimeout bounds how long a client may take to send a request, and how long a
	// response may still take when the server is stopped.
	httpTimeout = 5 * time.Second

	httpWriteTimeout = time.Minute // for a response, the time to make it included
	httpIdleTimeout  = 2 * time.Minute
	maxHTTPHeader    = 16 << 10 // bytes
)

// httpServer serves HTTP until stop is called.
type httpServer struct {
	addr   string // where it listens
	server http.Server
	ended  chan struct{} // closed when it serves no more
	err    error         // why it has ended by itself; read it after ended
}

// serveHTTP starts a server.
func serveHTTP(addr string, h http.Handler) (*httpServer, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &httpServer{
		addr: listener.Addr().String(), ended: make(chan struct{}),
		server: http.Server{
			Handler: h, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout,
			WriteTimeout: httpWriteTimeout, IdleTimeout: httpIdleTimeout, MaxHeaderBytes: maxHTTPHeader,
		},
	}
	go func() {
		defer close(s.ended)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	return s, nil
}

// stop ends the server. It gives a request in progress httpTimeout to finish.
func (s *httpServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), httpTimeout)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = s.server.Close()
	}
	<-s.ended
	return errors.Join(s.err, err)
}
