package nsqwatermill

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/broker"
)

const (
	// nsqdEnv and portEnv are environment variables that make this test binary run an nsqd:
	// its data directory and its TCP port.
	nsqdEnv, portEnv = "NSQ_WATERMILL_DIR", "NSQ_WATERMILL_PORT"

	// restartArg is the argument that makes this test binary ask another process, the test,
	// to restart that nsqd. The argument after it is the URL to post to.
	restartArg = "restart-nsqd"

	// readyLine is what the nsqd's process prints once it listens.
	readyLine = "ready\n"
)

func TestMain(m *testing.M) {
	switch dir := os.Getenv(nsqdEnv); {
	case len(os.Args) == 3 && os.Args[1] == restartArg:
		exit(askForRestart(os.Args[2]))
	case dir != "":
		go exitWithParent()
		exit(runNSQD(dir, os.Getenv(portEnv)))
	}
	goleak.VerifyTestMain(m,
		// The suite's TestReconnect collects what was published from a channel that it never
		// closes.
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/pubsub/tests.TestReconnect.func2"))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// exitWithParent exits when standard input ends. That happens however the parent ends.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}

// runNSQD runs an nsqd until SIGTERM.
func runNSQD(dir, port string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	tcp, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	b, err := broker.Start(ctx, broker.Options{DataDir: dir, TCPPort: tcp})
	if err != nil {
		return err
	}
	fmt.Print(readyLine)
	<-ctx.Done()
	return b.Stop()
}

func askForRestart(url string) error {
	response, err := http.Post(url, "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}
