package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// completed returns what a shell shows for the beginning of a command line. The last argument
// is the word to complete.
func completed(t *testing.T, args ...string) []string {
	t.Helper()
	code, stdout, stderr := execute(t, append([]string{"__completeNoDesc"}, args...)...)
	if code != exitOK || strings.Contains(stderr, "rdy:") {
		t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	return lines[:len(lines)-1] // the last one is a directive
}

// Words, profiles, topics and channels complete, the last two also of the cluster of the
// environment and of a profile.
func TestCompletion(t *testing.T) {
	c := startCluster(t, 1)
	c.publish(t, 0, "orders", "billing")
	c.publish(t, 0, "orders", "audit")
	c.publish(t, 0, "clicks", "stats")
	at := c.nsqds[0].HTTPAddr
	for _, tc := range []struct{ line, want string }{
		{"stat --nsqd-http " + at + " |", "clicks orders"},
		{"stat --nsqd-http " + at + " |or", "orders"},
		{"stat --nsqd-http " + at + " orders |", "audit billing"},
		{"stat --nsqd-http " + at + " orders audit |", ""},
		{"channel delete --nsqd-http " + at + " orders |b", "billing"},
		{"topic tombstone --nsqd-http " + at + " orders |", at},
		{"pub --mode |", "failover all"},
		{"pub --log-level |d", "debug"},
		{"to-file --compress |z", "zstd"},
		{"--profile |", "here other"},
		{"profile use |h", "here"},
		{"completion |p", "powershell"},
		{"version |", ""},
		{"pub --nsqd |", ""},
		// These know the cluster only by the profile.
		{"tail |", "clicks orders"},
		{"tail orders --channel |", "audit billing"},
		{"to-file orders |", "clicks"},
		{"to-http |cl", "clicks"},
		{"to-http orders |", ""},
		{"pub --topic |", "clicks orders"},
		{"tail --profile other |", ""},
		{"tail --profile typo |", ""},
	} {
		useConfig(t, "use = \"here\"\n[profile.here]\nnsqd_http = [\""+at+"\"]\n[profile.other]\n")
		before, word, _ := strings.Cut(tc.line, "|")
		if got := strings.Join(completed(t, append(strings.Fields(before), word)...), " "); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.line, got, tc.want)
		}
	}
	t.Setenv(configEnv, filepath.Join(t.TempDir(), "none"))
	t.Setenv(nsqdHTTPEnv, at)
	if got := completed(t, "tail", "c"); len(got) != 1 || got[0] != "clicks" {
		t.Errorf("by the environment: got %v", got)
	}
}

func TestArgumentKinds(t *testing.T) {
	for use, want := range map[string]string{
		"stat [TOPIC [CHANNEL]] (--lookupd address | --nsqd-http address)": "TOPIC CHANNEL",
		"to-file TOPIC... (--nsqd host:port | --lookupd host:port)":        "TOPIC...",
		"pub [TOPIC] --nsqd host:port [FILE...]":                           "TOPIC FILE...",
		"use (NAME | --none)":                                              "NAME",
		"version":                                                          "",
		"set [option ...]":                                                 "",
	} {
		if got := strings.Join(argumentKinds(use), " "); got != want {
			t.Errorf("%s: got %q, want %q", use, got, want)
		}
	}
	for i, want := range []string{"TOPIC", "FILE", "FILE"} {
		if got := kindOf([]string{"TOPIC", "FILE..."}, i); got != want {
			t.Errorf("argument %d is a %q, want %q", i, got, want)
		}
	}
	if got := kindOf([]string{"TOPIC"}, 1); got != "" {
		t.Errorf("got %q", got)
	}
}

// A daemon that accepts a connection and is silent holds the shell up for a second at most:
// the test ends.
func TestCompletionDoesNotBlock(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	if got := completed(t, "stat", "--nsqd-http", silent.Addr().String(), ""); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// The scripts are of the shells that they are for.
func TestCompletionScripts(t *testing.T) {
	for shell, part := range map[string]string{
		"bash": "complete -o default", "zsh": "#compdef rdy", "fish": "complete -c rdy", "powershell": "Register-ArgumentCompleter",
	} {
		code, stdout, stderr := execute(t, "completion", shell)
		if code != exitOK || stderr != "" || !strings.Contains(stdout, part) || !strings.Contains(stdout, "__complete") {
			t.Errorf("%s: exit code %d, stderr %q, script %.100q", shell, code, stderr, stdout)
		}
	}
}
