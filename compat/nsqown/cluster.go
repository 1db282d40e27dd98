package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// cluster is an nsqd, an nsqlookupd and the tools started for them.
type cluster struct {
	bin       string // directory of the programs
	nsqd      string // TCP address of nsqd
	nsqdHTTP  string // HTTP address of nsqd
	lookupd   string // HTTP address of nsqlookupd
	processes []*process
}

// startCluster returns when nsqd and nsqlookupd respond over HTTP.
func startCluster(ctx context.Context, bin, dir string) (*cluster, error) {
	addrs, err := freeAddrs(4)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, nsqd: addrs[0], nsqdHTTP: addrs[1], lookupd: addrs[2]}
	c.start("nsqlookupd", nil, "--tcp-address", addrs[3], "--http-address", c.lookupd, "--broadcast-address", "127.0.0.1")
	if err := c.waitUntil(ctx, "nsqlookupd responds", func() bool { return c.get(ctx, c.lookupd, "/ping", nil) == nil }); err != nil {
		c.stop()
		return nil, err
	}
	c.start("nsqd", nil, "--tcp-address", c.nsqd, "--http-address", c.nsqdHTTP, "--broadcast-address", "127.0.0.1",
		"--lookupd-tcp-address", addrs[3], "--data-path", data)
	if err := c.waitUntil(ctx, "nsqd responds", func() bool { return c.get(ctx, c.nsqdHTTP, "/ping", nil) == nil }); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// freeAddrs returns n different addresses whose ports are free.
func freeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // only at the end, so that the addresses differ
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

// create creates topics and their channels, and returns when nsqlookupd lists the
// topics.
func (c *cluster) create(ctx context.Context, channels map[string][]string) error {
	for topic, names := range channels {
		for _, name := range names {
			query := url.Values{"topic": {topic}, "channel": {name}}.Encode()
			if err := c.request(ctx, http.MethodPost, c.nsqdHTTP, "/topic/create?"+query, nil); err != nil {
				return err
			}
			if err := c.request(ctx, http.MethodPost, c.nsqdHTTP, "/channel/create?"+query, nil); err != nil {
				return err
			}
		}
		listed := func() bool {
			var response struct{ Producers []json.RawMessage }
			err := c.get(ctx, c.lookupd, "/lookup?topic="+topic, &response)
			return err == nil && len(response.Producers) == 1
		}
		if err := c.waitUntil(ctx, "nsqlookupd lists "+topic, listed); err != nil {
			return err
		}
	}
	return nil
}

// awaitDrained waits until each channel has received n messages and holds none.
// nsq_tail's channel may hold some, because nsq_tail exits after it has printed the
// last message and does not wait for its consumer to stop.
func (c *cluster) awaitDrained(ctx context.Context, n int, progress func() string) error {
	shown := time.Now()
	return c.waitUntil(ctx, "all channels are empty", func() bool {
		if time.Since(shown) > 2*time.Second {
			log.Print("      ", progress())
			shown = time.Now()
		}
		var stats struct {
			Topics []struct {
				Channels []struct {
					Name     string `json:"channel_name"`
					Depth    int    `json:"depth"`
					InFlight int    `json:"in_flight_count"`
					Messages int    `json:"message_count"`
				}
			}
		}
		if err := c.get(ctx, c.nsqdHTTP, "/stats?format=json", &stats); err != nil {
			return false
		}
		for _, topic := range stats.Topics {
			for _, channel := range topic.Channels {
				left := channel.Depth + channel.InFlight
				if channel.Messages < n || left > 0 && channel.Name != "nsq_tail" {
					return false
				}
			}
		}
		return len(stats.Topics) == 2
	})
}

// waitUntil polls until cond is true. It fails as soon as a process has failed,
// because cond might then never become true.
func (c *cluster) waitUntil(ctx context.Context, what string, cond func() bool) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !cond() {
		for _, p := range c.processes {
			if p.exited() && p.err != nil {
				return p.failure()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w\n%s", what, ctx.Err(), c.logs())
		case <-ticker.C:
		}
	}
	return nil
}

func (c *cluster) get(ctx context.Context, addr, path string, response any) error {
	return c.request(ctx, http.MethodGet, addr, path, response)
}

func (c *cluster) request(ctx context.Context, method, addr, path string, response any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if response == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(response)
}

// stop kills all processes, the last one first, and waits for each.
func (c *cluster) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		p := c.processes[i]
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// logs returns how the processes that have exited ended, and the ends of their logs.
func (c *cluster) logs() string {
	var all string
	for _, p := range c.processes {
		if p.exited() {
			all += fmt.Sprintf("%s: %v\n%s\n", p.cmd, p.err, p.logTail())
		}
	}
	return all
}

// process is a program of the cluster.
type process struct {
	cmd            *exec.Cmd
	done           chan struct{} // closed when the program has exited
	stdout, stderr bytes.Buffer  // may be read after done
	err            error         // result of Start or Wait; may be read after done
}

// start starts a program. A program that cannot be started counts as one that has
// exited with an error.
func (c *cluster) start(name string, stdin io.Reader, args ...string) *process {
	p := &process{cmd: exec.Command(filepath.Join(c.bin, name), args...), done: make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, &p.stdout, &p.stderr
	c.processes = append(c.processes, p)
	if p.err = p.cmd.Start(); p.err != nil {
		close(p.done)
		return p
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) failure() error {
	return fmt.Errorf("%s: %w\n%s", p.cmd, p.err, p.logTail())
}

// logTail returns the end of the log of a process that has exited.
func (p *process) logTail() []byte {
	stderr := p.stderr.Bytes()
	return stderr[max(0, len(stderr)-2000):]
}

// wait waits until the program exits by itself. It returns an error if the exit
// status is not 0.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s did not exit: %w", p.cmd, ctx.Err())
	}
	if p.err != nil {
		return p.failure()
	}
	return nil
}

// interrupt sends SIGINT to the program and waits until it exits.
func (p *process) interrupt(ctx context.Context) error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return p.wait(ctx)
}
