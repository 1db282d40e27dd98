package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/nsqtest"
)

// To switch, a program changes only its import path.
func TestSwitchIsTheImportPath(t *testing.T) {
	before, err := os.ReadFile("testdata/before.go")
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Replace(string(before), "github.com/nsqio/go-nsq", "github.com/rdyhq/nsq", 1) != string(after) {
		t.Error("testdata/before.go and main.go differ in more than the import path")
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
		cfg := nsq.NewConfig()
		cfg.DialContext = network.DialContext
		cfg.MaxInFlight = 50
		interrupted, done := make(chan os.Signal), make(chan error)
		go func() { done <- run(cfg, d.Addr(), interrupted) }()
		d.Publish("orders", "pen", "later: ink", "x")
		time.Sleep(time.Hour) //nolint:forbidigo // inside a synctest bubble
		interrupted <- syscall.SIGINT
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := d.Queued("invoices", ""); !slices.Equal(got, []string{"invoice for pen", "invoice for later: ink"}) {
			t.Errorf("%q", got)
		}
		if st := d.Stats("orders", "invoices"); st.Finished != 3 || st.Requeued != 6 {
			t.Errorf("%+v", st) // "x" is given up after five attempts
		}
	})
}
