package simulation

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	chunk      = 200              // seeds that a process plays
	progress   = 10 * time.Second // between two lines that say how far TestSeeds is
	shownBytes = 4000             // of the output of a seed that fails
)

// self returns a command that runs tests of this program. It has one processor, so that what
// goroutines do at the same instant varies little.
func self(ctx context.Context, args ...string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- this program
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd, nil
}

// playInProcesses plays many seeds in processes of their own, one for each processor, since a
// story that hangs or panics ends its process. It prints how far it is, and each failure at once.
func playInProcesses(t *testing.T, from, seeds uint64) {
	begin := time.Now()
	var played, failures atomic.Uint64
	chunks := make(chan uint64)
	var players sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		players.Go(func() {
			for first := range chunks {
				last := min(first+chunk, from+seeds) - 1
				for n := first; n <= last; {
					failed, output := playChunk(t, n, last)
					if failed == 0 {
						played.Add(last + 1 - n)
						break
					}
					played.Add(failed + 1 - n)
					failures.Add(1)
					t.Errorf("seed %d fails", failed)
					fmt.Printf("seed %d fails:\n%s\n", failed, output)
					n = failed + 1
				}
			}
		})
	}
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(progress):
				fmt.Printf("%d of %d seeds in %v, %d failed\n", played.Load(), seeds, time.Since(begin).Round(time.Second), failures.Load())
			}
		}
	})
	for first := from; first < from+seeds; first += chunk {
		chunks <- first
	}
	close(chunks)
	players.Wait()
	close(over)
	telling.Wait()
	fmt.Printf("%d seeds in %v, %d failed\n", played.Load(), time.Since(begin).Round(time.Second), failures.Load())
}

var running = regexp.MustCompile(`(?m)^=== RUN   TestSeeds/(\d+)$`)

// playChunk plays seeds in a process, up to the first that fails. It returns that seed, 0 if there
// is none, and what the process printed about it.
func playChunk(t *testing.T, first, last uint64) (failed uint64, output string) {
	cmd, err := self(t.Context(), "-test.run=^TestSeeds$", "-test.v", "-test.failfast",
		fmt.Sprint("-from=", first), fmt.Sprint("-seeds=", last+1-first))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	text, err := cmd.CombinedOutput()
	if err == nil {
		return 0, ""
	}
	at := running.FindAllSubmatchIndex(text, -1)
	if len(at) == 0 {
		return first, fmt.Sprintf("%v\n%s", err, text)
	}
	newest := at[len(at)-1]
	failed, _ = strconv.ParseUint(string(text[newest[2]:newest[3]]), 10, 64)
	told, _, _ := bytes.Cut(bytes.TrimSpace(text[newest[1]:]), []byte("\n--- FAIL: TestSeeds "))
	return failed, string(told[:min(len(told), shownBytes)])
}
