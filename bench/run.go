package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
)

// Two processes run a case, a server and a client, and between them a proxy if the server is
// some way off. All run this program, unless the client is of the earlier version.

const (
	serverRole = "server"
	clientRole = "client"
)

// runOnce runs a case once for one client.
func (r runner) runOnce(ctx context.Context, client string, c Case) (Result, error) {
	spec, err := json.Marshal(c)
	if err != nil {
		return Result{}, err
	}
	where, stop, err := startPart(ctx, serverRole, string(spec))
	defer stop()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", c.Name(), err)
	}
	if c.RTT > 0 && c.Kind != connect {
		var stopProxy func()
		where, stopProxy, err = startPart(ctx, proxyRole, where, string(spec))
		defer stopProxy()
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	program := os.Args[0]
	name, earlier := strings.CutSuffix(client, before)
	if earlier {
		program = r.before
	}
	out, err := command(ctx, program, clientRole, name, where, string(spec)).Output()
	if err != nil {
		return Result{}, fmt.Errorf("%s: client %s: %w", c.Name(), client, err)
	}
	var result Result
	if err := json.Unmarshal(out, &result); err != nil {
		return Result{}, fmt.Errorf("%s: client %s: result %q: %w", c.Name(), client, out, err)
	}
	return result, nil
}

// startPart starts a server or a proxy and returns the addresses that it prints, as JSON.
// stop ends the process. The process also ends when this one exits.
func startPart(ctx context.Context, args ...string) (where string, stop func(), err error) {
	cmd := command(ctx, os.Args[0], args...)
	stop = func() {}
	// The part exits when alive closes, at the latest when this process exits.
	alive, err := cmd.StdinPipe()
	if err != nil {
		return "", stop, err
	}
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return "", stop, err
	}
	if err := cmd.Start(); err != nil {
		return "", stop, err
	}
	stop = func() {
		_ = alive.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	where, err = bufio.NewReader(lines).ReadString('\n')
	if err != nil {
		return "", stop, fmt.Errorf("the %s did not start: %w", args[0], err)
	}
	return strings.TrimSpace(where), stop, nil
}

// profileEnv is the environment variable that names the directory for the clients'
// CPU profiles.
const profileEnv = "BENCH_PROFILE"

// withProfile runs work, and writes a CPU profile of it if profileEnv is set.
func withProfile(client string, c Case, work func() error) (err error) {
	dir := os.Getenv(profileEnv)
	if dir == "" {
		return work()
	}
	name := strings.NewReplacer(" ", "_", "/", "_").Replace(c.Name() + " " + client)
	file, err := os.Create(filepath.Join(dir, name+".pprof")) // #nosec G304 G703 -- where the user wants it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return work()
}

func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- this program, or the user's
	cmd.Stderr = os.Stderr
	return cmd
}

// runRole is main for a server, a proxy or a client. The last argument is the case, the one
// before it, except for a server, the addresses to connect to.
func runRole(ctx context.Context, role string, args []string) error {
	var c Case
	if err := json.Unmarshal([]byte(args[len(args)-1]), &c); err != nil {
		return err
	}
	if role == serverRole {
		return serve(ctx, c)
	}
	var where addresses
	if err := json.Unmarshal([]byte(args[len(args)-2]), &where); err != nil {
		return err
	}
	if role == proxyRole {
		return proxy(ctx, c, where)
	}
	return withProfile(args[0], c, func() error { return runClient(args[0], c, where) })
}
