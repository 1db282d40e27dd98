package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// childEnv makes this binary run the recipe as a process of its own, with the nsqd at this
// address and a handler that never returns.
const childEnv = "RECIPE_SHUTDOWN_NSQD"

func TestMain(m *testing.M) {
	nsqd := os.Getenv(childEnv)
	if nsqd == "" {
		goleak.VerifyTestMain(m)
		return
	}
	go func() { // do not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	fmt.Println(run(nsq.NewConfig(), nsqd, func(context.Context, *nsq.Message) error { select {} }))
}

// Handlers that have begun may finish. What none has begun is requeued at once.
func TestGraceful(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		stop := s.Start(func(ctx context.Context) error {
			return consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, *nsq.Message) error {
				scene.Sleep(10 * time.Second)
				return nil
			})
		})
		bodies := make([]string, 15)
		for i := range bodies {
			bodies[i] = fmt.Sprint("order ", i)
		}
		s.Publish(bodies...)
		scene.After(time.Second)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != 9*time.Second {
			s.Errorf("the stop took %v, want the 9 s that handlers still need", took)
		}
		if st := s.Stats(); st.Finished != 10 || st.Requeued != 5 || st.InFlight != 0 || st.TimedOut != 0 {
			s.Errorf("%+v", st)
		}
	})
}

// A handler that does not return within stop_timeout does not hold up the process.
func TestHandlerHangs(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		ctx, cancel := context.WithCancel(s.Context())
		done, hang := make(chan error), make(chan struct{})
		defer close(hang)
		go func() {
			done <- consume(ctx, s.Config, s.NSQD.Addr(), func(context.Context, *nsq.Message) error {
				<-hang
				return nil
			})
		}()
		s.Publish("pen")
		scene.After(time.Second)
		begun := time.Now()
		cancel()
		err := <-done
		if _, ok := errors.AsType[*nsq.StopError](err); !ok || time.Since(begun) > 21*time.Second {
			s.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// The first signal makes the process wait for its handler, and a further one ends it.
func TestSecondSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no way to send a process an interrupt")
	}
	d := nsqtest.NewNsqd(t, nsqtest.Options{})
	d.Publish("orders", "pen")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+d.Addr())
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	d.WaitFor(time.Minute, func() bool { return d.Stats("orders", "billing").InFlight == 1 })
	interrupt := func() {
		if err := child.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	interrupt()
	d.WaitFor(time.Minute, func() bool { return len(d.Clients()) == 1 && d.Clients()[0].Closing })
	select {
	case err := <-exited:
		t.Fatalf("the first signal has ended the process: %v", err)
	default:
	}
	// The process asks nsqd to stop at about the time at which it gives up the signal. One
	// that comes earlier is lost, so a user would press Ctrl-C again.
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for range 600 {
		interrupt()
		select {
		case <-again.C:
			continue
		case err := <-exited:
			status, ok := child.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGINT {
				t.Errorf("the process ended with %v", err)
			}
			return
		}
	}
	t.Error("the process ignores Ctrl-C")
}
