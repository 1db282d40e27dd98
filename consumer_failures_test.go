package nsq

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/fleet"
	"github.com/rdyhq/nsq/internal/link"
	"github.com/rdyhq/nsq/internal/wire"
)

func TestDialFailures(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", connRefused[0])}
	said := &wire.Error{Code: "E_BAD_TOPIC"}
	for _, tt := range []struct {
		op   string
		err  error
		want fleet.Failure
	}{
		{link.OpDial, refused, fleet.NotListening},
		{link.OpDial, os.ErrDeadlineExceeded, fleet.Unreachable},
		{link.OpIdentify, refused, fleet.Unreachable}, // a proxy accepted
		{link.OpIdentify, io.EOF, fleet.Unreachable},
		{link.OpIdentify, said, fleet.Refused},
		{link.OpSub, said, fleet.Refused},
		{link.OpTLS, io.EOF, fleet.Refused},
		{link.OpAuth, link.ErrAuthRequired, fleet.Refused},
		{link.OpIdentify, link.ErrHandshakeTimeout, fleet.Hung},
		{link.OpTLS, link.ErrHandshakeTimeout, fleet.Hung},
		{link.OpAuth, link.ErrHandshakeTimeout, fleet.Hung},
	} {
		if got := dialFailure(&link.Error{Addr: "a:1", Op: tt.op, Err: tt.err}); got != tt.want {
			t.Errorf("%s: %v: %d, want %d", tt.op, tt.err, got, tt.want)
		}
	}
	if got := dialFailure(errBoom); got != fleet.Unreachable {
		t.Errorf("%d", got)
	}
}

func TestConnLosses(t *testing.T) {
	closed := []error{io.EOF, io.ErrUnexpectedEOF, fmt.Errorf("TLS: %w", io.EOF)}
	for _, err := range connReset {
		closed = append(closed, &net.OpError{Op: "read", Err: os.NewSyscallError("read", err)})
	}
	if !slices.ContainsFunc(connReset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }) {
		t.Error("a reset is not one")
	}
	for _, err := range closed {
		if got := connLoss(&link.Error{Addr: "a:1", Op: link.OpRead, Err: err}); got != fleet.ClosedByNSQD {
			t.Errorf("%v: %d", err, got)
		}
	}
	for _, err := range []error{
		os.ErrDeadlineExceeded, wire.ErrFrame, link.ErrUnexpectedReply, &wire.Error{Code: "E_INVALID", Desc: "EOF"},
		fmt.Errorf("%w: %w", &wire.Error{Code: "E_INVALID"}, io.EOF), syscall.ETIMEDOUT,
	} {
		if got := connLoss(&link.Error{Addr: "a:1", Op: link.OpRead, Err: err}); got != fleet.Broken {
			t.Errorf("%v: %d", err, got)
		}
	}
	if got := connLoss(nil); got != fleet.Broken {
		t.Errorf("%d", got)
	}
}

// addsOne is a DiscoveryFilter that adds an address that no nsqlookupd lists.
type addsOne struct{}

func (addsOne) Filter(addrs []string) []string { return append(addrs, "added:1") }

// An address that a DiscoveryFilter adds is dialled again as if it were listed.
func TestFilterAddsAnAddress(t *testing.T) {
	inScene(t, func(s *scene) {
		listed, added := s.nsqd("listed:1"), s.nsqd("added:1")
		s.lookupd("l:1", listed)
		s.consumer(1, noError)
		s.c.SetBehaviorDelegate(addsOne{})
		s.discover("l:1")
		after(time.Minute)
		added.Kill()
		after(5 * time.Second)
		added.Restart()
		added.Publish("t", "m")
		s.finished(added, 1, 5*time.Second, "after a restart")
	})
}
