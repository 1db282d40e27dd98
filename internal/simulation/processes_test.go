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
// goroutines do at the same instant varies little, and collects garbage less often, which takes a
// quarter of the time otherwise.
func self(ctx context.Context, args ...string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- this program
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=400")
	return cmd, nil
}

// campaign is a run of many seeds, in processes of their own, one for each processor: a story that
// hangs or panics ends its process.
type campaign struct {
	*testing.T
	begin            time.Time
	seeds            uint64
	played, failures atomic.Uint64
}

// playInProcesses plays seeds. It prints how far it is, and each failure at once.
func playInProcesses(t *testing.T, from, seeds uint64) {
	c := &campaign{T: t, begin: time.Now(), seeds: seeds}
	chunks, over := make(chan uint64), make(chan struct{})
	var players, telling sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		players.Go(func() {
			for first := range chunks {
				c.play(first, min(first+chunk, from+seeds)-1)
			}
		})
	}
	telling.Go(func() { c.tell(over) })
	for first := from; first < from+seeds; first += chunk {
		chunks <- first
	}
	close(chunks)
	players.Wait()
	close(over)
	telling.Wait()
}

// tell prints how far the campaign is, again and again and when it is over.
func (c *campaign) tell(over chan struct{}) {
	for done := false; !done; {
		select {
		case <-over:
			done = true
		case <-time.After(progress):
		}
		fmt.Printf("%d of %d seeds in %v, %d failed\n", c.played.Load(), c.seeds, time.Since(c.begin).Round(time.Second), c.failures.Load())
	}
}

// play plays the seeds of a chunk.
func (c *campaign) play(first, last uint64) {
	for n := first; n <= last; {
		failed, output := playChunk(c.T, n, last)
		if failed == 0 {
			c.played.Add(last + 1 - n)
			return
		}
		c.played.Add(failed + 1 - n)
		c.failures.Add(1)
		c.Errorf("seed %d fails", failed)
		fmt.Printf("seed %d fails:\n%s\n", failed, output)
		n = failed + 1
	}
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
