package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
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
		{"completion", "want bash, zsh, fish, powershell"},
		{"completion tcsh", "want bash, zsh, fish, powershell"},
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
		{"tail", "want one topic or more, got 0"},
		{"tail a b a --nsqd " + addr, "duplicate topic a"},
		{"tail t --nsqd " + addr + " --delimiter \\q", `"--delimiter"`},
		{"tail t --nsqd " + addr + " --delimiter x --json", "no meaning for JSON"},
		{"tail t --nsqd " + addr + " --print-topic --jq .", "no meaning for JSON"},
		{"demo --snappy --deflate", "cannot be combined"},
		{"demo --ui --messages 5", "--ui and --messages cannot be combined"},
		{"demo --ui --jq .", "--ui and --jq cannot be combined"},
		{"demo --ui --nsqds 1", "at least 2 --nsqds"},
		{"ui --nsqd-http a:4151 --prometheus prom:9090", "--prometheus: want a URL with http or https"},
		{"ui --nsqd-http a:4151 --prometheus-match a=1", "--prometheus-match needs --prometheus"},
		{"tail t", "--nsqd or --lookupd is missing"},
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
		{"pub --nsqd " + addr, "the topic is missing"},
		{"pub --topic t", "--nsqd or --lookupd is missing"},
		{"pub t", "--nsqd or --lookupd is missing"},
		{"pub a$b --nsqd " + addr, `invalid topic "a$b"`},
		{"pub go.mod --nsqd " + addr, "go.mod is a file: name the topic before it"},
		{"pub t /no/such/file --nsqd " + addr, "no such file"},
		{"pub --topic t t --nsqd " + addr, "; with --topic all arguments are files"},
		{"pub t --nsqd " + addr + " --lookupd " + addr, "--nsqd and --lookupd exclude each other"},
		{"pub t --lookupd localhost", "want host:port"},
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
		{"to-http", "want a topic and a URL, got 0 arguments"},
		{"to-http t --nsqd " + addr + " --channel c", "want a topic and a URL, got 1 argument;"},
		{"to-http a$b http://h/ --nsqd " + addr + " --channel c", `invalid topic "a$b"`},
		{"to-http t http://h/ --channel c", "--nsqd or --lookupd is missing"},
		{"to-http t http://h/ --nsqd " + addr, "--channel is missing"},
		{"to-http t http://h/ --nsqd localhost --channel c", "want host:port"},
		{"to-http t h/ --nsqd " + addr + " --channel c", "URL 1: want a URL"},
		{"to-http t http://h/ http://h/ --nsqd " + addr + " --channel c", "URL 2 is a duplicate"},
		{"to-http t http://h/%s --nsqd " + addr + " --channel c", "write {{.Body}}"},
		{"to-http t http://h/{{.B}} --nsqd " + addr + " --channel c", "unknown placeholder"},
		{"to-http t http://h/ http://i/{{.Body}} --method GET --nsqd " + addr + " --channel c", "URL 1: --method GET sends no body"},
		{"to-http t http://h/ --method get --nsqd " + addr + " --channel c", "want POST or PUT"},
		{"to-http t http://h/{{.Body}} --method GET --content-type a/b --nsqd " + addr + " --channel c", "--content-type has no meaning"},
		{"to-http t http://h/ --content-type= --nsqd " + addr + " --channel c", "is not a content type"},
		{"to-http t http://h/ --header secret --nsqd " + addr + " --channel c", "Name: value"},
		{"to-http t http://h/ --mode hostpool --nsqd " + addr + " --channel c", "want least-failing or round-robin or all"},
		{"to-http t http://h/ --concurrency 0 --nsqd " + addr + " --channel c", "from 1 to 10000"},
		{"to-http t http://h/ --max-in-flight 0 --nsqd " + addr + " --channel c", "from 1 to"},
		{"to-http t http://h/ --timeout 0 --nsqd " + addr + " --channel c", "from 1ms to 1h"},
		{"to-http t http://h/ --connect-timeout 2h --nsqd " + addr + " --channel c", "from 1ms to 1h"},
		{"to-http t http://h/ --http-ca /no/such/file --nsqd " + addr + " --channel c", "no such file"},
		{"to-http t http://h/ --http-ca /dev/null --nsqd " + addr + " --channel c", "no PEM certificate"},
		{"to-http t http://h/ --sample 1.1 --nsqd " + addr + " --channel c", "from 0 to 1"},
		{"to-http t http://h/ --rate -1 --nsqd " + addr + " --channel c", "from 0 to"},
		{"to-http t http://h/ --status-every -1 --nsqd " + addr + " --channel c", "from 0 to"},
		{"to-http t http://h/ --dead-letter t --nsqd " + addr + " --channel c", "is the topic itself"},
		{"to-http t http://h/ --dead-letter d#ephemeral --nsqd " + addr + " --channel c", "does not keep"},
		{"to-http t http://h/ --max-attempts 3 --nsqd " + addr + " --channel c", "--max-attempts needs --dead-letter"},
		{"to-http t http://h/ --set max_attempts,3 --nsqd " + addr + " --channel c", "--max-attempts needs --dead-letter"},
		{"to-http t http://h/ --set snappy --set deflate --nsqd " + addr + " --channel c", "both Deflate and Snappy"},
		{"to-file --nsqd " + addr, "want a topic or --topic-pattern"},
		{"to-file a$b --nsqd " + addr, `invalid topic "a$b"`},
		{"to-file t", "--nsqd or --lookupd is missing"},
		{"to-file --topic-pattern a --nsqd " + addr, "--topic-pattern needs --lookupd"},
		{"to-file --topic-pattern ( --lookupd " + addr, "want a regular expression"},
		{"to-file t --nsqd " + addr, "--channel is missing"},
		{"to-file t --nsqd " + addr + " --channel c", "--output-dir is missing"},
		{"to-file t --nsqd " + addr + " --channel c --output-dir /dev/null", "is not a directory"},
		{"to-file t --nsqd " + addr + " --channel c --output-dir /dev/null/x", "not a directory"},
		{"to-file t --filename x.log", "want one <REV>"},
		{"to-file t --append --filename x.log --rotate-size 9", "which --rotate-size needs"},
		{"to-file t u --append --filename x.log", "several topics do not share a file"},
		{"to-file t --append --compress gzip --channel c --output-dir . --nsqd " + addr, "--append excludes --compress"},
		{"to-file t --append --work-dir w --channel c --output-dir . --nsqd " + addr, "--append excludes --compress"},
		{"man", "want --dir or --markdown"},
		{"man --dir a --markdown b", "want --dir or --markdown"},
		{"compat nsq_cat", `unknown command "nsq_cat"`},
		{"compat nsq_tail -bogus", "flag provided but not defined: -bogus"},
		{"compat nsq_tail extra", `unexpected argument "extra"`},
		{"compat nsq_tail -n x", `invalid value "x" for flag -n`},
		{"compat nsq_tail -topic a$b -nsqd-tcp-address " + addr, `invalid topic "a$b"`},
		{"compat nsq_to_http -topic t -post http://h/ -nsqd-tcp-address " + addr + " -n 0", "from 1 to 10000"},
		{"to-file t --filename <REV><REV>", "want one <REV>"},
		{"to-file t --filename <REV><TOPICS>", "not <TOPICS>"},
		{"to-file t --filename ../<REV>", "in the output directory"},
		{"to-file t --filename /<REV>", "in the output directory"},
		{"to-file t --filename <REV>/", "not of a directory"},
		{"to-file t --filename <REV>%", "stray %"},
		{"to-file t --filename <REV>%Q", "%Q"},
		{"to-file t --compress lz4", "want none or gzip or zstd"},
		{"to-file t --compress-level 23", "from 0 to 22"},
		{"to-file t --nsqd " + addr + " --channel c --output-dir . --compress-level 3", "needs --compress"},
		{"to-file t --nsqd " + addr + " --channel c --output-dir . --compress gzip --compress-level 10", "the levels 1 to 9"},
		{"to-file t --rotate-size -1", "from 0 to"},
		{"to-file t --sync-interval 6m", "from 1ms to 5m0s"},
		{"to-file t --nsqd " + addr + " --channel c --output-dir . --set snappy --set deflate", "both Deflate and Snappy"},
		{"peek", "want a topic, or --data-dir"},
		{"peek a b c", "got 3 arguments"},
		{"peek a$b", `invalid topic "a$b"`},
		{"peek t", "--nsqd-http or --lookupd is missing"},
		{"peek t c --nsqd " + addr, "to look at channel c give --backlog"},
		{"peek t --nsqd " + addr + " --yes", "--yes has no meaning with new messages"},
		{"peek t --nsqd " + addr, "--nsqd-http is missing: give one for each --nsqd"},
		{"peek t --nsqd " + addr + " --nsqd 127.0.0.1:2 --nsqd-http " + addr, "--nsqd-http is missing: give one for each --nsqd"},
		{"peek t --nsqd " + addr + " --for 1h", "from 100ms to 10m0s"},
		{"peek t --nsqd " + addr + " -n -1", "from 0 to"},
		{"peek t --nsqd " + addr + " --nsqd-http " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"peek t --backlog --lookupd " + addr, "--backlog needs a channel"},
		{"peek t c --backlog --yes", "--lookupd or --nsqd-http is missing"},
		{"peek t c --backlog --lookupd " + addr, "--yes is needed"},
		{"peek t c --backlog --yes --nsqd " + addr, "--nsqd has no meaning with --backlog"},
		{"peek t c --backlog --yes -n 0 --lookupd " + addr, "want 1 to 1000 messages"},
		{"peek t c --backlog --yes --lookupd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"peek --data-dir=", "--data-dir is empty"},
		{"peek --data-dir . --for 1s", "--for has no meaning with --data-dir"},
		{"peek t --data-dir . --nsqd " + addr, "--nsqd has no meaning with --data-dir"},
		{"exporter extra --lookupd " + addr, `unexpected argument "extra"`},
		{"exporter", "--lookupd or --nsqd-http is missing"},
		{"exporter --lookupd " + addr + " --interval -1s", "from 0s to 1h0m0s"},
		{"copy --nsqd " + addr, "want a topic or --topic-pattern"},
		{"copy a$b --nsqd " + addr, `invalid topic "a$b"`},
		{"copy t", "--nsqd or --lookupd is missing"},
		{"copy t --nsqd " + addr, "--channel is missing"},
		{"copy --topic-pattern a --nsqd " + addr, "--topic-pattern needs --lookupd"},
		{"copy t --nsqd " + addr + " --channel c", "--to or --to-lookupd is missing"},
		{"copy t --nsqd " + addr + " --channel c --to h", "want host:port"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-lookupd h:2", "exclude each other"},
		{"copy t --lookupd " + addr + " --channel c --to-lookupd h:2 --mode all", "--mode all needs --to"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --mode hostpool", "want failover or all"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-topic a$b", `invalid --to-topic "a$b"`},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-topic <TOPICS>", "invalid --to-topic"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-topic x#ephemeral", "--to-topic x#ephemeral: nsqd drops"},
		{"copy t#ephemeral --nsqd " + addr + " --channel c --to h:1 --to-topic <TOPIC>.x", "makes the invalid name"},
		{"copy t --nsqd " + addr + " --channel c --to " + addr, "copying topic t to " + addr + ", where it comes from, would never end"},
		{"copy t u --nsqd " + addr + " --channel c --to " + addr + " --to-topic u", "copying topic t to topic u on " + addr + " would never end"},
		{"copy t --lookupd " + addr + " --channel c --to-lookupd " + addr, "nsqlookupd " + addr + ", where it comes from, would never end"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --jq .[", `"--jq"`},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --copy-invalid", "--copy-invalid needs --jq"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --sample 2", "from 0 to 1"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --rate -1", "from 0 to"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --dead-letter t", "is a topic to copy"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --dead-letter d#ephemeral", "does not keep"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --set max_attempts,3", "needs --dead-letter"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --set max_in_flight,0", "would copy nothing"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-set bogus,1", `"--to-set"`},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-set snappy --to-set deflate", "both Deflate and Snappy"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-auth-secret-file /no/such/file", "no such file"},
		{"copy t --nsqd " + addr + " --channel c --to h:1 --to-auth-secret-file /dev/null --to-set auth_secret,x", "--to-auth-secret-file and --to-set auth_secret exclude"},
		{"bench foo", `unknown command "foo"`},
		{"bench pub", "--nsqd or --lookupd is missing"},
		{"bench pub a b --nsqd " + addr, "want one topic, got 2"},
		{"bench pub a$b --nsqd " + addr, `invalid topic "a$b"`},
		{"bench pub --nsqd " + addr + " --size 0", "from 1 to 1048576"},
		{"bench pub --nsqd " + addr + " --size 100000 --batch 100", "exceeds 5 MiB"},
		{"bench pub --nsqd " + addr + " --batch 0", "from 1 to"},
		{"bench pub --nsqd " + addr + " --concurrency 0", "from 1 to"},
		{"bench pub --nsqd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"bench sub --nsqd " + addr, "want one topic, got 0"},
		{"bench sub t --nsqd " + addr + " --channel a/b", `"--channel"`},
		{"bench sub t --nsqd " + addr, "--nsqd-http is missing: give one for each --nsqd"},
		{"bench latency t --nsqd " + addr, "--nsqd-http is missing: give one for each --nsqd"},
		{"bench sub t --nsqd " + addr + " --idle -1s", "from 0s to"},
		{"bench latency --nsqd " + addr + " --rate 0", "from 0.1 to"},
		{"bench latency --nsqd " + addr + " --size 15", "from 16 to"},
		{"bench latency --nsqd " + addr + " --duration 0", "from 1ms to"},
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
		{"top", "standard input is not a terminal; --plain"},
		{"top x", `unexpected argument "x"`},
		{"top --json", "need --plain"},
		{"top --every 1m", "--every needs --plain"},
		{"top --plain", "--lookupd or --nsqd-http is missing"},
		{"top --plain --every 1ms", "from 1s to 24h0m0s"},
		{"top --plain --interval 10ms", "from 500ms to 1m0s"},
		{"doctor x --lookupd " + addr, `unexpected argument "x"`},
		{"doctor", "--lookupd or --nsqd-http is missing"},
		{"doctor --for 1ms --lookupd " + addr, "from 500ms to 1h0m0s"},
		{"topic foo", `unknown command "foo"`},
		{"channel lst", `did you mean "list"?`},
		{"topic list", "--lookupd or --nsqd-http is missing"},
		{"topic list x --lookupd " + addr, `unexpected argument "x"`},
		{"topic describe a$b --lookupd " + addr, `invalid topic "a$b"`},
		{"topic create --lookupd " + addr, "want one topic, got 0"},
		{"topic delete t --lookupd " + addr, "--yes is needed"},
		{"topic empty t --lookupd " + addr, "--yes is needed"},
		{"topic tombstone t --lookupd " + addr, "got 1 argument"},
		{"topic tombstone t n --lookupd " + addr, `invalid nsqd "n"`},
		{"topic tombstone t " + addr + " --yes --nsqd-http " + addr, "--lookupd is missing"},
		{"channel create t --lookupd " + addr, "want a topic and a channel, got 1 argument"},
		{"channel pause t a$b --lookupd " + addr, `invalid channel "a$b"`},
		{"channel delete t c --lookupd " + addr, "--yes is needed"},
		{"ui --lookupd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"dead foo", `unknown command "foo"`},
		{"dead list", "--lookupd or --nsqd-http is missing"},
		{"dead list a$b --lookupd " + addr, `invalid topic "a$b"`},
		{"dead list a b --lookupd " + addr, "want one topic, got 2"},
		{"dead list t -n -1 --lookupd " + addr, "from 0 to"},
		{"dead list t --channel a/b --lookupd " + addr, `"--channel"`},
		{"dead list t --lookupd " + addr + " --set snappy --set deflate", "both Deflate and Snappy"},
		{"dead show t --lookupd " + addr, "want a topic and an id, got 1 argument"},
		{"dead show t 0123 --lookupd " + addr, `invalid id "0123"`},
		{"dead show t 0123456789abcdef@nsqd --lookupd " + addr, "want 16 hexadecimal digits"},
		{"dead show t 0123456789abcdef --raw --jq . --lookupd " + addr, "--raw and --json exclude"},
		{"dead replay --lookupd " + addr, "want a topic, and ids or --all"},
		{"dead replay t --lookupd " + addr, "want ids or --all"},
		{"dead replay t 0123456789abcdef --all --lookupd " + addr, "ids and --all exclude each other"},
		{"dead replay t 0123456789abcdef --origin o --lookupd " + addr, "--error and --origin need --all"},
		{"dead replay t x --lookupd " + addr, `invalid id "x"`},
		{"dead replay t --all --to a$b --lookupd " + addr, `"--to"`},
		{"dead replay t --all --to t --lookupd " + addr, "--to t is the topic of the letters"},
		{"dead replay t --all --to x#ephemeral --lookupd " + addr, "--to x#ephemeral: nsqd drops"},
		{"dead replay t --all --rate -1 --lookupd " + addr, "from 0 to"},
		{"dead replay t --all --max-retries -1 --lookupd " + addr, "from 0 to"},
		{"dead drop t --lookupd " + addr, "want ids or --all"},
		{"dead drop t --all --lookupd " + addr, "--yes is needed"},
		{"node foo", `unknown command "foo"`},
		{"node config --lookupd " + addr, "want a flag, or a flag and a value"},
		{"node config a/b --lookupd " + addr, `invalid flag "a/b"`},
		{"node config max-rdy-count 3 --lookupd " + addr, "nsqd changes only log_level"},
		{"node config log_level loud --lookupd " + addr, "want debug, info"},
		{"profile foo", `unknown command "foo"`},
		{"profile list x", `unexpected argument "x"`},
		{"profile show a b", "want at most one profile, got 2"},
		{"profile set a --nsqd localhost", "want host:port"},
		{"profile set a --set bogus,1", `"--set"`},
		{"profile delete", "want the name of one profile, got 0"},
		{"profile use", "want the name of one profile, got 0"},
		{"node config nsqlookupd_tcp_addresses a --lookupd " + addr, "want host:port"},
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
	for _, name := range []string{"demo", "pub", "tail", "to-file", "to-http", "broker", "peek", "exporter", "stat", "topic", "channel", "node", "doctor", "check", "copy", "bench", "profile", "completion", "compat", "dead", "man", "top", "version", "help"} {
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

// The help of every command under a command has two examples of it, and names what it needs.
func TestHelpOfNestedCommands(t *testing.T) {
	for _, group := range []string{"topic", "channel", "node", "check", "dead"} {
		_, overview, _ := execute(t, group)
		found := 0
		for _, cmd := range commandOf(group).Commands() {
			name := group + " " + cmd.Name()
			code, help, _ := execute(t, group, cmd.Name(), "--help")
			if code != exitOK || strings.Count(help, "\n  rdy "+name+" ") < 3 || !strings.Contains(help, lookupdEnv) || !strings.Contains(help, "--jq") {
				t.Errorf("help of %s:\n%s", name, help)
			}
			if _, same, _ := execute(t, "help", group, cmd.Name()); same != help {
				t.Errorf("help %s and %s --help differ:\n%s", name, name, same)
			}
			if !strings.Contains(overview, "  "+cmd.Name()) {
				t.Errorf("rdy %s does not list %s:\n%s", group, cmd.Name(), overview)
			}
			found++
		}
		if found == 0 {
			t.Errorf("no commands under %s", group)
		}
	}
}

// commandOf returns the command of a name.
func commandOf(name string) *cobra.Command {
	cmd, _, _ := newRoot(&app{}).Find([]string{name})
	return cmd
}
