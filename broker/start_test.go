package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nsqio/nsq/nsqd"
)

// startFails checks that Start fails with a one-line error and leaves no
// temporary directory. It returns the error.
func startFails(t *testing.T, ctx context.Context, o Options) error {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	b, err := Start(ctx, o)
	if err == nil {
		stop(t, b)
		t.Fatal("Start succeeded")
	}
	if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "broker: ") {
		t.Errorf("error %q, want one line that begins with \"broker: \"", err)
	}
	if left, readErr := os.ReadDir(temp); readErr != nil || len(left) > 0 {
		t.Errorf("temporary directory holds %v (%v), want nothing", left, readErr)
	}
	return err
}

func TestPortInUse(t *testing.T) {
	for _, test := range []struct {
		name string
		used int // offset of the port that is in use
	}{
		{"TCP", 0},
		{"HTTP", 1},
		{"TCP of the second nsqd", 2},
		{"HTTP of the second nsqd", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := freePorts(t, 4)
			addr := net.JoinHostPort(loopback, strconv.Itoa(first+test.used))
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })

			o := Options{NSQDs: 2, Lookupds: 1, TCPPort: first, HTTPPort: first + 1}
			err = startFails(t, t.Context(), o)
			if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr) {
				t.Errorf("error %q, want EADDRINUSE with the address %s", err, addr)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			start(t, o)
		})
	}
	t.Run("the same for TCP and HTTP", func(t *testing.T) {
		first := freePorts(t, 1)
		if err := startFails(t, t.Context(), Options{TCPPort: first, HTTPPort: first}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("error %q, want EADDRINUSE", err)
		}
	})
}

func TestInvalidOptions(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{NSQDs: -1}, "NSQDs is -1"},
		{Options{NSQDs: 1025}, "NSQDs is 1025"},
		{Options{Lookupds: -1}, "Lookupds is -1"},
		{Options{TCPPort: -1}, "TCPPort is -1"},
		{Options{TCPPort: 65536}, "TCPPort is 65536"},
		{Options{HTTPPort: -1}, "HTTPPort is -1"},
		{Options{HTTPPort: 65536}, "HTTPPort is 65536"},
		{Options{NSQDs: 3, HTTPPort: 65532}, "port 65536"},
		{Options{Configure: func(_ int, o *nsqd.Options) { o.HTTPAddress = "" }}, "nsqd-0: no HTTPAddress"},
		{Options{Configure: func(_ int, o *nsqd.Options) { o.MaxDeflateLevel = 10 }}, "--max-deflate-level"},
		{Options{Configure: func(_ int, o *nsqd.Options) { o.TCPAddress = "x" }}, "missing port"},
	} {
		t.Run(test.want, func(t *testing.T) {
			if err := startFails(t, t.Context(), test.o); !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want %q in it", err, test.want)
			}
		})
	}
}

func TestUnusableData(t *testing.T) {
	t.Run("metadata", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "nsqd-0", "nsqd.dat")
		const torn = `{"topics":[{"name":"ord`
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(torn), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := startFails(t, t.Context(), Options{DataDir: dir}); !strings.Contains(err.Error(), file) {
			t.Errorf("error %q, want the file %s in it", err, file)
		}
		if left, err := os.ReadFile(file); err != nil || string(left) != torn {
			t.Errorf("metadata is now %q (%v), want it untouched", left, err)
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := startFails(t, t.Context(), Options{DataDir: file}); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("error %q, want ENOTDIR", err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		o := Options{DataDir: t.TempDir()}
		start(t, o)
		if err := startFails(t, t.Context(), o); !strings.Contains(err.Error(), o.DataDir) {
			t.Errorf("error %q, want the directory %s in it", err, o.DataDir)
		}
	})
}

// onLine is the handler of a log that calls its function with the text of each line.
type onLine struct {
	slog.Handler
	line func(string)
}

func (h onLine) Enabled(context.Context, slog.Level) bool { return true }
func (h onLine) WithAttrs([]slog.Attr) slog.Handler       { return h }

func (h onLine) Handle(_ context.Context, r slog.Record) error {
	h.line(r.Message)
	return nil
}

func TestContext(t *testing.T) {
	t.Run("ended before Start", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := startFails(t, ctx, Options{NSQDs: 2, Lookupds: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %q, want context.Canceled", err)
		}
	})
	t.Run("ends during Start", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		started := 0
		err := startFails(t, ctx, Options{NSQDs: 3, Configure: func(i int, _ *nsqd.Options) {
			started++
			if i == 1 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) || started != 2 {
			t.Errorf("error %q after %d nsqds, want context.Canceled after 2", err, started)
		}
	})
	t.Run("ends before registration", func(t *testing.T) {
		// nsqlookupd refuses an nsqd without a broadcast address. It logs each request for
		// the nsqds that it lists, which Start sends only while it waits for that nsqd.
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		log := slog.New(onLine{slog.DiscardHandler, func(line string) {
			if strings.Contains(line, "GET /nodes") {
				cancel(cause)
			}
		}})
		err := startFails(t, ctx, Options{Lookupds: 1, Logger: log, Configure: func(_ int, o *nsqd.Options) { o.BroadcastAddress = "" }})
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "not registered") {
			t.Errorf("error %q, want the context's cause and what was waited for", err)
		}
	})
	t.Run("ends after Start", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b, err := Start(ctx, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, b)
		cancel()
		publish(t, b.NSQDs()[0])
	})
}
