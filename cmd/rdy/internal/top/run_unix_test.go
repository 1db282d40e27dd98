//go:build unix

package top

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Run ends with its context and leaves no goroutine behind, even if a daemon hangs.
func TestRun(t *testing.T) {
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(terminal, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	drawn := make(chan struct{})
	var reads sync.WaitGroup
	reads.Go(func() {
		buf := make([]byte, 4096)
		for once := sync.OnceFunc(func() { close(drawn) }); ; once() {
			if _, err := terminal.Read(buf); err != nil {
				return
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	reads.Go(func() {
		<-drawn
		cancel()
	})
	f := &fakeCluster{hangs: true}
	if err := Run(ctx, Options{Cluster: f.cluster(), Interval: time.Second, Input: io.Reader(tty), Output: tty}); err != nil {
		t.Error(err)
	}
	_ = tty.Close()
	_ = terminal.Close()
	reads.Wait()
}
