package nsqtest_test

import (
	"os/exec"
	"sync"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

type restarter interface {
	Kill()
	Restart()
}

// A fake on TCP restarts at its address although processes that are being started hold copies
// of its listener.
func TestRestartBesideProcesses(t *testing.T) {
	done := make(chan struct{})
	var starting sync.WaitGroup
	defer starting.Wait()
	defer close(done)
	for range 3 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = exec.Command("/no/such/program").Run() // forks, and ends
				}
			}
		})
	}
	for name, start := range map[string]func(*testing.T) restarter{
		"nsqd":       func(t *testing.T) restarter { return nsqtest.NewNsqd(t, nsqtest.Options{}) },
		"nsqlookupd": func(t *testing.T) restarter { return nsqtest.NewLookupd(t, nsqtest.LookupdOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			fake := start(t)
			for range 300 {
				fake.Kill()
				fake.Restart()
			}
		})
	}
}
