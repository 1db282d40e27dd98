package main

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Each byte arrives exactly the delay after it was sent, however many are on their way.
func TestDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const by = 25 * time.Millisecond
		client, near := net.Pipe()
		far, server := net.Pipe()
		ended := make(chan struct{})
		go func() {
			delayed(far, near, by, time.Sleep) //nolint:forbidigo // virtual time
			_ = far.Close()
			close(ended)
		}()
		start := time.Now()
		go func() { // a byte a millisecond
			for i := range 100 {
				time.Sleep(time.Millisecond) //nolint:forbidigo // virtual time
				if _, err := client.Write([]byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
			_ = client.Close()
		}()
		got := make([]byte, 1)
		for i := range 100 {
			if _, err := io.ReadFull(server, got); err != nil {
				t.Fatal(err)
			}
			want := time.Duration(i+1)*time.Millisecond + by
			if took := time.Since(start); int(got[0]) != i || took != want {
				t.Fatalf("byte %d is %d and arrives after %v, want %v", i, got[0], took, want)
			}
		}
		<-ended
	})
}

// A receiver that is gone ends the copying, also while the sender goes on.
func TestDelayedToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, near := net.Pipe()
		far, server := net.Pipe()
		_ = server.Close()
		ended := make(chan struct{})
		go func() {
			delayed(far, near, time.Millisecond, time.Sleep) //nolint:forbidigo // virtual time
			_ = near.Close()
			close(ended)
		}()
		for {
			if _, err := client.Write([]byte("x")); err != nil {
				break
			}
		}
		<-ended
	})
}

// The proxy takes a round trip for connecting and one for a reply.
func TestForward(t *testing.T) {
	const rtt = 20 * time.Millisecond
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = echo.Close() }()
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go forward(l, echo.Addr().String(), rtt)
	start := time.Now()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := make([]byte, 5)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	if took := time.Since(start); took < 2*rtt { // a busy machine may take longer
		t.Errorf("took %v, want %v or more", took, 2*rtt)
	}
}
