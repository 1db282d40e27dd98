package nsqtest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// pair returns both ends of a connection.
func pair(t *testing.T, n *nsqtest.Network) (client, server *nsqtest.Conn) {
	t.Helper()
	l, err := n.Listen("a:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	dialled, err := n.DialContext(t.Context(), "tcp", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialled.(*nsqtest.Conn), accepted.(*nsqtest.Conn)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(text), err)
	}
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func wantReadErr(t *testing.T, c net.Conn, want error) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 {
		t.Fatalf("read %d bytes, want %v", n, want)
	}
	wantErr(t, err, want)
}

func TestConnCarriesBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t, nsqtest.NewNetwork())
		write(t, client, "ab")
		write(t, client, "c")
		wantRead(t, server, "abc")
		write(t, server, "xyz")
		wantRead(t, client, "x")
		wantRead(t, client, "yz")
		if client.RemoteAddr().String() != "a:1" || server.LocalAddr().String() != "a:1" {
			t.Errorf("addresses %v, %v, want a:1", client.RemoteAddr(), server.LocalAddr())
		}
		if client.LocalAddr().String() != server.RemoteAddr().String() {
			t.Errorf("client's address: %v at its own end, %v at the server's", client.LocalAddr(), server.RemoteAddr())
		}
		if client.Writes() != 2 {
			t.Errorf("%d writes, want 2", client.Writes())
		}
	})
}

func TestConnBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		n.Capacity = 4
		client, server := pair(t, n)
		write(t, client, "1234")

		done := make(chan error, 2)
		for _, text := range []string{"aaaaaa", "bbbbbb"} {
			go func() {
				_, err := io.WriteString(client, text)
				done <- err
			}()
		}
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("a write returned while the buffer was full")
		}
		got := make([]byte, 16)
		if _, err := io.ReadFull(server, got); err != nil {
			t.Fatal(err)
		}
		if s := string(got[4:]); s != "aaaaaabbbbbb" && s != "bbbbbbaaaaaa" {
			t.Errorf("writes were interleaved: %q", s)
		}
		wantErr(t, errors.Join(<-done, <-done), nil)
	})
}

func TestConnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		n.Capacity = 1
		client, server := pair(t, n)
		start := time.Now()
		set := func(err error) {
			t.Helper()
			wantErr(t, err, nil)
		}

		set(client.SetDeadline(start.Add(time.Second)))
		wantReadErr(t, client, os.ErrDeadlineExceeded)
		if d := time.Since(start); d != time.Second {
			t.Errorf("read ended after %v, want 1s", d)
		}
		written, err := io.WriteString(client, "ab")
		if written != 0 {
			t.Errorf("wrote %d bytes after the deadline", written)
		}
		wantErr(t, err, os.ErrDeadlineExceeded)
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			t.Errorf("%v is not a timeout", err)
		}

		// A deadline can be extended and removed.
		set(client.SetWriteDeadline(time.Now().Add(time.Second)))
		written, err = io.WriteString(client, "ab")
		wantErr(t, err, os.ErrDeadlineExceeded)
		if d := time.Since(start); written != 1 || d != 2*time.Second {
			t.Errorf("wrote %d bytes in %v, want 1 in 2s", written, d)
		}
		set(client.SetDeadline(time.Time{}))
		time.AfterFunc(time.Hour, func() { _, _ = io.WriteString(server, "x") })
		wantRead(t, client, "x")

		// A deadline in the past interrupts a Read under way.
		time.AfterFunc(time.Second, func() { _ = client.SetReadDeadline(time.Unix(1, 0)) })
		wantReadErr(t, client, os.ErrDeadlineExceeded)
	})
}

func TestConnCloses(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, client, server *nsqtest.Conn)
	}{
		{"the peer drains, then reads EOF", func(t *testing.T, client, server *nsqtest.Conn) {
			write(t, client, "abc")
			wantErr(t, client.Close(), nil)
			wantRead(t, server, "abc")
			wantReadErr(t, server, io.EOF)
		}},
		{"the peer cannot write", func(t *testing.T, client, server *nsqtest.Conn) {
			wantErr(t, client.Close(), nil)
			_, err := io.WriteString(server, "x")
			wantErr(t, err, syscall.ECONNRESET)
		}},
		{"unread input resets", func(t *testing.T, client, server *nsqtest.Conn) {
			write(t, server, "unread")
			write(t, client, "abc")
			wantErr(t, client.Close(), nil)
			wantRead(t, server, "abc")
			wantReadErr(t, server, syscall.ECONNRESET)
		}},
		{"calls after Close fail", func(t *testing.T, client, server *nsqtest.Conn) {
			write(t, server, "abc")
			wantErr(t, client.Close(), nil)
			wantReadErr(t, client, net.ErrClosed)
			_, err := io.WriteString(client, "x")
			wantErr(t, err, net.ErrClosed)
			wantErr(t, client.SetDeadline(time.Now()), net.ErrClosed)
			wantErr(t, client.CloseWrite(), net.ErrClosed)
			wantErr(t, client.Close(), net.ErrClosed)
			if client.Closes() != 2 {
				t.Errorf("%d closes, want 2", client.Closes())
			}
		}},
		{"half-close lets the reply through", func(t *testing.T, client, server *nsqtest.Conn) {
			write(t, client, "command")
			wantErr(t, client.CloseWrite(), nil)
			_, err := io.WriteString(client, "x")
			wantErr(t, err, syscall.EPIPE)
			wantRead(t, server, "command")
			wantReadErr(t, server, io.EOF)
			write(t, server, "reply")
			wantErr(t, server.Close(), nil)
			wantRead(t, client, "reply")
			wantReadErr(t, client, io.EOF)
		}},
		{"Close interrupts a Read, and a Write of the peer fails", func(t *testing.T, client, server *nsqtest.Conn) {
			time.AfterFunc(time.Second, func() { _ = client.Close() })
			wantReadErr(t, client, net.ErrClosed)
			time.AfterFunc(time.Second, func() { _ = server.Close() })
			n, err := io.WriteString(server, strings.Repeat("x", 1<<17))
			if n != 0 {
				t.Errorf("wrote %d bytes to a closed peer", n)
			}
			wantErr(t, err, syscall.ECONNRESET)
		}},
		{"Close interrupts a Write", func(t *testing.T, client, _ *nsqtest.Conn) {
			time.AfterFunc(time.Second, func() { _ = client.Close() })
			n, err := io.WriteString(client, strings.Repeat("x", 1<<17))
			if n != 1<<16 {
				t.Errorf("wrote %d bytes, want 65536", n)
			}
			wantErr(t, err, net.ErrClosed)
		}},
		{"the peer's Close interrupts a Write", func(t *testing.T, client, server *nsqtest.Conn) {
			time.AfterFunc(time.Second, func() { _ = server.Close() })
			_, err := io.WriteString(client, strings.Repeat("x", 1<<17))
			wantErr(t, err, syscall.ECONNRESET)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pair(t, nsqtest.NewNetwork())
				tt.test(t, client, server)
			})
		})
	}
}

func TestNetworkDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		dialErr := func(ctx context.Context, want error) {
			t.Helper()
			conn, err := n.DialContext(ctx, "tcp", "a:1")
			if conn != nil {
				t.Fatal("a dial succeeded")
			}
			wantErr(t, err, want)
			if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" {
				t.Errorf("%v is not a dial error", err)
			}
		}
		dialErr(ctx, syscall.ECONNREFUSED)

		_, server := pair(t, n)
		if _, err := n.Listen("a:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second Listen: %v", err)
		}
		n.Refuse("a:1", nil)
		dialErr(ctx, syscall.ECONNREFUSED)
		n.Refuse("a:1", io.ErrNoProgress)
		dialErr(ctx, io.ErrNoProgress)
		n.Blackhole("a:1")
		start := time.Now()
		dialErr(ctx, context.DeadlineExceeded)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("the dial to a blackhole ended after %v, want 1m", d)
		}
		n.Allow("a:1")
		dialErr(ctx, context.DeadlineExceeded)

		late, err := n.DialContext(t.Context(), "tcp", "a:1")
		wantErr(t, err, nil)
		if n.Attempts("a:1") != 7 || n.Dials() != 2 || n.OpenConns() != 2 || n.Closes() != 0 {
			t.Errorf("attempts %d, dials %d, open %d, closes %d, want 7, 2, 2, 0",
				n.Attempts("a:1"), n.Dials(), n.OpenConns(), n.Closes())
		}
		wantErr(t, server.Close(), nil) // only clients' ends count
		wantErr(t, late.Close(), nil)
		_ = late.Close()
		if n.OpenConns() != 1 || n.Closes() != 2 {
			t.Errorf("open %d, closes %d, want 1, 2", n.OpenConns(), n.Closes())
		}
		_, _ = io.WriteString(late, "on a closed connection")
		if n.Writes() != 1 {
			t.Errorf("%d writes, want 1", n.Writes())
		}
		if conns := n.Conns(); len(conns) != 2 || conns[1] != late {
			t.Errorf("connections %v", conns)
		}
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := nsqtest.NewNetwork()
		l, err := n.Listen("127.0.0.1:0")
		wantErr(t, err, nil)
		if l.Addr().String() != "127.0.0.1:4150" || l.Addr().Network() != "tcp" {
			t.Errorf("listens at %v %v", l.Addr().Network(), l.Addr())
		}
		waiting, err := n.DialContext(t.Context(), "tcp", l.Addr().String())
		wantErr(t, err, nil)
		time.AfterFunc(time.Second, func() { _ = l.Close() })
		_, err = l.Accept()
		wantErr(t, err, nil)
		_, err = l.Accept()
		wantErr(t, err, net.ErrClosed)
		wantErr(t, l.Close(), net.ErrClosed)
		_, err = n.DialContext(t.Context(), "tcp", l.Addr().String())
		wantErr(t, err, syscall.ECONNREFUSED)
		write(t, waiting, "an accepted connection stays open")

		again, err := n.Listen("127.0.0.1:4150")
		wantErr(t, err, nil)
		orphan, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:4150")
		wantErr(t, err, nil)
		wantErr(t, again.Close(), nil)
		wantReadErr(t, orphan, io.EOF)
	})
}
