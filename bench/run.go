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

// Two processes run a case: a server and a client. Both run this program.

const (
	serverRole = "server"
	clientRole = "client"
)

// runPair runs a case once for one client.
func runPair(ctx context.Context, client string, c Case) (Result, error) {
	spec, err := json.Marshal(c)
	if err != nil {
		return Result{}, err
	}
	server := command(ctx, serverRole, string(spec))
	// The server exits when alive closes, at the latest when this process exits.
	alive, err := server.StdinPipe()
	if err != nil {
		return Result{}, err
	}
	lines, err := server.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if err := server.Start(); err != nil {
		return Result{}, err
	}
	defer func() {
		_ = alive.Close()
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	where, err := bufio.NewReader(lines).ReadString('\n')
	if err != nil {
		return Result{}, fmt.Errorf("%s: the server did not start: %w", c.Name(), err)
	}
	out, err := command(ctx, clientRole, client, string(spec), strings.TrimSpace(where)).Output()
	if err != nil {
		return Result{}, fmt.Errorf("%s: client %s: %w", c.Name(), client, err)
	}
	var r Result
	if err := json.Unmarshal(out, &r); err != nil {
		return Result{}, fmt.Errorf("%s: client %s: result %q: %w", c.Name(), client, out, err)
	}
	return r, nil
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

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...) // #nosec G204 -- this program
	cmd.Stderr = os.Stderr
	return cmd
}

// runRole is main for a server or client process.
func runRole(ctx context.Context, name string, args []string) error {
	var c Case
	var where addresses
	spec := args[len(args)-1]
	if name == clientRole {
		if err := json.Unmarshal([]byte(args[2]), &where); err != nil {
			return err
		}
		spec = args[1]
	}
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	if name == serverRole {
		return serve(ctx, c)
	}
	return withProfile(args[0], c, func() error { return runClient(args[0], c, where) })
}
