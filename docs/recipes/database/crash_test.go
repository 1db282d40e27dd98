package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	nsqdaemon "github.com/nsqio/nsq/nsqd"
	"go.uber.org/goleak"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/broker"
)

// childEnv makes this binary run the recipe as a process that crashes. Its value is a crash in
// JSON.
const childEnv = "RECIPE_DATABASE_CHILD"

// crashed is the exit code of a process that has crashed as it was told to.
const crashed = 3

// crash says what a child process does.
type crash struct {
	NSQD, File string
	Batch      int  // in which batch it crashes, counted from 1
	Committed  bool // whether it crashes after the batch's COMMIT, or before its BEGIN
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		goleak.VerifyTestMain(m)
		return
	}
	go func() { // do not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := runChild(context.Background(), text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runChild(ctx context.Context, text string) error {
	var c crash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	db, err := Open(ctx, c.File)
	if err != nil {
		return err
	}
	store := Store{db}
	batches := 0
	return Consume(ctx, nsq.NewConfig(), c.NSQD, nsq.BatchHandlerFunc(func(ctx context.Context, batch []*nsq.Message) error {
		batches++
		if batches == c.Batch && !c.Committed {
			os.Exit(crashed)
		}
		err := store.HandleBatch(ctx, batch)
		if batches == c.Batch && err == nil {
			os.Exit(crashed)
		}
		return err
	}))
}

// run runs a child until it crashes.
func (c crash) run(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+string(text))
	child.Stderr = t.Output()
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	err = child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != crashed {
		t.Fatalf("the child ended with %v", err)
	}
}

// channel is what nsqd says about a channel.
type channel struct {
	Depth    int `json:"depth"`
	InFlight int `json:"in_flight_count"`
	Deferred int `json:"deferred_count"`
	TimedOut int `json:"timeout_count"`
}

// stats asks nsqd for the figures of channel billing of topic orders.
func stats(t *testing.T, httpAddr string) channel {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+httpAddr+"/stats?format=json&topic=orders&channel=billing", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body struct {
		Topics []struct{ Channels []channel }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if len(body.Topics) != 1 || len(body.Topics[0].Channels) != 1 {
		t.Fatalf("stats: %+v", body)
	}
	return body.Topics[0].Channels[0]
}

// Processes crash, against a real nsqd: between two batches, and between the COMMIT of a batch
// and its FINs. Each order is in the database once, although nsqd delivers many of them again
// and one in ten was published twice.
func TestCrash(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Options{Configure: func(_ int, o *nsqdaemon.Options) { o.MsgTimeout = 2 * time.Second }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	nsqd, file := b.NSQDs()[0], filepath.Join(t.TempDir(), "orders.db")
	db := open(t, file)

	const orders = 5000
	cfg := nsq.NewConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	producer, err := nsq.NewProducer(nsqd.TCPAddr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Stop()
	bodies := make([][]byte, 0, orders*11/10)
	for i := range orders {
		bodies = append(bodies, []byte(order(i)))
		if i%10 == 0 {
			bodies = append(bodies, []byte(order(i)))
		}
	}
	if err := producer.MultiPublishContext(t.Context(), "orders", bodies); err != nil {
		t.Fatal(err)
	}

	crash{NSQD: nsqd.TCPAddr, File: file, Batch: 2}.run(t)
	crash{NSQD: nsqd.TCPAddr, File: file, Batch: 2, Committed: true}.run(t)
	crash{NSQD: nsqd.TCPAddr, File: file, Batch: 1, Committed: true}.run(t)
	stored := count(t, db, `SELECT count(*) FROM orders`)
	if st := stats(t, nsqd.HTTPAddr); stored == 0 || st.Depth+st.InFlight+st.Deferred <= len(bodies)-stored {
		t.Errorf("%d orders stored, but nsqd has only %+v: no message is there twice", stored, st)
	}

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Consume(ctx, cfg, nsqd.TCPAddr, Store{db}) }()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for st := stats(t, nsqd.HTTPAddr); st.Depth+st.InFlight+st.Deferred > 0; st = stats(t, nsqd.HTTPAddr) {
		<-poll.C
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	n, sum := count(t, db, `SELECT count(*) FROM orders`), count(t, db, `SELECT sum(cents) FROM orders`)
	if n != orders || sum != orders*(orders-1)/2 {
		t.Errorf("%d orders stored, of %d cents in all", n, sum)
	}
	if st := stats(t, nsqd.HTTPAddr); st.TimedOut == 0 {
		t.Errorf("nsqd has delivered nothing twice: %+v", st)
	}
}
