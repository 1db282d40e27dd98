package main

import (
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	const addr = "127.0.0.1:1"
	for _, tc := range []struct {
		line string
		want string // part of the one line on stderr
	}{
		{"foo", `unknown command "foo"`},
		{"demos", `did you mean "demo"?`},
		{"--bogus", "unknown flag: --bogus"},
		{"help foo", `unknown command "foo"`},
		{"completion bash", `unknown command "completion"`},
		{"demo extra", `unexpected argument "extra"`},
		{"demo --bogus", `see "rdy demo --help"`},
		{"demo -x", "'x'"},
		{"demo --messages", "needs an argument"},
		{"demo --messages 0", "from 1 to 100000000"},
		{"demo --messages -5", "from 1 to 100000000"},
		{"demo --messages 100000001", "from 1 to 100000000"},
		{"demo --messages 1e3", "a whole number"},
		{"demo --messages 99999999999999999999", "a whole number"},
		{"demo --size 7", "from 8 to 1048576"},
		{"demo --size 1048577", "from 8 to 1048576"},
		{"demo --nsqds 0", "from 1 to 1024"},
		{"demo --handlers 0", `"--handlers"`},
		{"demo --max-in-flight 0", `"--max-in-flight"`},
		{"demo --fail-rate 1.01", "a number from 0 to 1"},
		{"demo --fail-rate -0.1", "a number from 0 to 1"},
		{"demo --fail-rate NaN", "a number from 0 to 1"},
		{"demo --fail-rate half", "a number from 0 to 1"},
		{"demo --work 5", "a duration"},
		{"demo --work -1ms", "a duration"},
		{"demo --work 61s", "from 0s to 1m0s"},
		{"demo --keep=perhaps", `"--keep"`},
		{"demo --json=perhaps", `"--json"`},
		{"demo --log-level loud", "debug, info, warn or error"},
		{"tail", "want one topic, got 0"},
		{"demo --snappy --deflate", "cannot be combined"},
		{"tail t", "--nsqd or --lookupd is missing"},
		{"tail a b --nsqd " + addr, "want one topic, got 2"},
		{"tail a$b --nsqd " + addr, `invalid topic "a$b"`},
		{"tail t --nsqd localhost", "want host:port"},
		{"tail t --nsqd :4150", "want host:port"},
		{"tail t --nsqd localhost:0", "want host:port"},
		{"tail t --nsqd localhost:65536", "want host:port"},
		{"tail t --nsqd localhost:http", "want host:port"},
		{"tail t --nsqd " + addr + " --channel a/b", `"--channel"`},
		{"tail t --nsqd " + addr + " -n -1", "from 0 to"},
		{"tail t --nsqd " + addr + " -n many", "a whole number"},
		{"tail t --nsqd " + addr + " --max-in-flight 0", "from 1 to"},
		{"tail t --nsqd " + addr + " --set bogus,1", `"--set"`},
		{"tail t --nsqd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"pub --nsqd " + addr, "--topic is missing"},
		{"pub --topic t", "--nsqd is missing"},
		{"pub --topic a$b --nsqd " + addr, "letters, digits"},
		{"pub --topic t --nsqd " + addr + " /no/such/file", "no such file"},
		{"pub --topic t --nsqd " + addr + " /", "is a directory"},
		{"pub --topic t --nsqd " + addr + " --mode most", "want failover or all"},
		{"pub --topic t --nsqd " + addr + " --delimiter \\q", `"--delimiter"`},
		{"pub --topic t --nsqd " + addr + " --defer -1s", "from 0s to"},
		{"pub --topic t --nsqd " + addr + " --rate -1", "from 0 to"},
		{"pub --topic t --nsqd " + addr + " --batch 0", "from 1 to"},
		{"pub --topic t --nsqd " + addr + " --max-msg-size 0", "from 1 to"},
		{"pub --topic t --nsqd " + addr + " --retry-for x", "a duration"},
		{"pub --topic t --nsqd " + addr + " --set snappy,perhaps", `"--set"`},
		{"pub --topic t --nsqd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"broker extra", `unexpected argument "extra"`},
		{"broker --nsqds 1025", "from 1 to 1024"},
		{"broker --lookupds -1", "from 0 to"},
		{"broker --tcp-port 65536", "from 0 to 65535"},
		{"broker --tcp-port 65534 --nsqds 2", "need port 65536"},
		{"broker --tcp-port 4150 --http-port 4150", "collide"},
		{"broker --tcp-port 4152 --http-port 4150 --nsqds 2", "collide"},
		{"version extra", `unexpected argument "extra"`},
		{"version --jq .[", `"--jq"`},
		{"version --jq $x", "variable not defined"},
		{"version --template {{.", `"--template"`},
		{"version --template {{bogus}}", "not defined"},
		{"version --jq . --template x", "--jq and --template exclude each other"},
		{"version --template x --jq .", "--jq and --template exclude each other"},
		{"stat", "--lookupd or --nsqd-http is missing"},
		{"stat a b c --lookupd " + addr, "got 3 arguments"},
		{"stat a$b --lookupd " + addr, `invalid topic "a$b"`},
		{"stat a b$c --lookupd " + addr, `invalid channel "b$c"`},
		{"stat --lookupd localhost", `"--lookupd" flag: want host:port`},
		{"stat --nsqd-http ftp://localhost:1", `"--nsqd-http" flag: want host:port`},
		{"stat --lookupd " + addr + " --interval 1ms", "from 100ms to 1h0m0s"},
		{"stat --lookupd " + addr + " --timeout 0", "from 10ms to 10m0s"},
		{"stat --lookupd " + addr + " --count 1", "--count needs --watch"},
	} {
		t.Run(tc.line, func(t *testing.T) {
			code, stdout, stderr := execute(t, strings.Fields(tc.line)...)
			if code != exitUsage || stdout != "" {
				t.Errorf("exit code %d, stdout %q; want %d and no output", code, stdout, exitUsage)
			}
			expectOneLine(t, stderr)
			if !strings.Contains(stderr, tc.want) {
				t.Errorf("stderr %q does not contain %q", stderr, tc.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	_, overview, _ := execute(t)
	for _, name := range []string{"demo", "pub", "tail", "broker", "stat", "version", "help"} {
		code, stdout, stderr := execute(t, name, "--help")
		if code != exitOK || stderr != "" {
			t.Errorf("%s --help: exit code %d, stderr %q", name, code, stderr)
		}
		for _, part := range []string{"Examples:\n  rdy ", "--json", "--help"} {
			if !strings.Contains(stdout, part) {
				t.Errorf("%s --help lacks %q:\n%s", name, part, stdout)
			}
		}
		if _, same, _ := execute(t, "help", name); same != stdout {
			t.Errorf("help %s and %s --help differ:\n%s", name, name, same)
		}
		if !strings.Contains(overview, "  "+name) {
			t.Errorf("rdy does not list %s:\n%s", name, overview)
		}
	}
}
