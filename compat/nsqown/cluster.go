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

// cluster is an nsqd, an nsqlookupd and the tools that were started.
type cluster struct {
	bin       string
	nsqd      string // address of its TCP port
	nsqdHTTP  string
	lookupd   string // address of its HTTP port
	processes []*process
}

// startCluster returns when nsqd and nsqlookupd answer.
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
	if err := c.until(ctx, "nsqlookupd answers", func() bool { return c.get(ctx, c.lookupd, "/ping", nil) == nil }); err != nil {
		c.stop()
		return nil, err
	}
	c.start("nsqd", nil, "--tcp-address", c.nsqd, "--http-address", c.nsqdHTTP, "--broadcast-address", "127.0.0.1",
		"--lookupd-tcp-address", addrs[3], "--data-path", data)
	if err := c.until(ctx, "nsqd answers", func() bool { return c.get(ctx, c.nsqdHTTP, "/ping", nil) == nil }); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func freeAddrs(n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // at the end, so that no two are the same
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

// create makes topics and their channels, and returns when nsqlookupd lists
// them.
func (c *cluster) create(ctx context.Context, channels map[string][]string) error {
	for topic, names := range channels {
		for _, name := range names {
			query := url.Values{"topic": {topic}, "channel": {name}}.Encode()
			if err := c.do(ctx, http.MethodPost, c.nsqdHTTP, "/topic/create?"+query, nil); err != nil {
				return err
			}
			if err := c.do(ctx, http.MethodPost, c.nsqdHTTP, "/channel/create?"+query, nil); err != nil {
				return err
			}
		}
		listed := func() bool {
			var answer struct{ Producers []json.RawMessage }
			err := c.get(ctx, c.lookupd, "/lookup?topic="+topic, &answer)
			return err == nil && len(answer.Producers) == 1
		}
		if err := c.until(ctx, "nsqlookupd lists "+topic, listed); err != nil {
			return err
		}
	}
	return nil
}

// drained waits until each channel has had n messages and has none any more.
// nsq_tail's keeps some: having shown the last one it exits, rather than to stop.
func (c *cluster) drained(ctx context.Context, n int, progress func() string) error {
	shown := time.Now()
	return c.until(ctx, "all channels are empty", func() bool {
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

// until asks over and over until cond is true. A process that ends meanwhile
// with an error is why it will not be.
func (c *cluster) until(ctx context.Context, what string, cond func() bool) error {
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

func (c *cluster) get(ctx context.Context, addr, path string, answer any) error {
	return c.do(ctx, http.MethodGet, addr, path, answer)
}

func (c *cluster) do(ctx context.Context, method, addr, path string, answer any) error {
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
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

// stop ends all processes, those that were started last first, and waits for
// them.
func (c *cluster) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		p := c.processes[i]
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (c *cluster) logs() string {
	var all string
	for _, p := range c.processes {
		if p.exited() {
			all += fmt.Sprintf("%s: %v\n%s\n", p.cmd, p.err, p.lastWords())
		}
	}
	return all
}

// process is a program of the cluster.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer  // to be read when it is done
	done           chan struct{} // closed when it has ended
	err            error         // how
}

// start starts a program. If that fails, it counts as one that ended.
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
	return fmt.Errorf("%s: %w\n%s", p.cmd, p.err, p.lastWords())
}

// lastWords is the end of what a process that ended logged.
func (p *process) lastWords() []byte {
	stderr := p.stderr.Bytes()
	return stderr[max(0, len(stderr)-2000):]
}

// wait waits until the program ends by itself.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s does not end: %w", p.cmd, ctx.Err())
	}
	if p.err != nil {
		return p.failure()
	}
	return nil
}

// interrupt asks the program to end, and waits until it has.
func (p *process) interrupt(ctx context.Context) error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return p.wait(ctx)
}
