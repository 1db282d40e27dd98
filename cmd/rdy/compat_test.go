package main

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

// oldFlags are the flags of the tools of NSQ 1.3.0. to_nsq has no -version there.
var oldFlags = map[string]string{
	"nsq_tail": "channel consumer-opt lookupd-http-address max-in-flight n nsqd-tcp-address print-topic topic version",
	"nsq_stat": "channel count http-client-connect-timeout http-client-request-timeout interval lookupd-http-address nsqd-http-address topic version",
	"nsq_to_file": "channel consumer-opt datetime-format filename-format gzip gzip-level host-identifier http-client-connect-timeout " +
		"http-client-request-timeout log-level log-prefix lookupd-http-address max-in-flight nsqd-tcp-address output-dir rotate-interval " +
		"rotate-size skip-empty-files sync-interval topic topic-pattern topic-refresh version work-dir",
	"nsq_to_nsq": "channel consumer-opt destination-nsqd-tcp-address destination-topic lookupd-http-address max-in-flight mode nsqd-tcp-address " +
		"producer-opt require-json-field require-json-value status-every topic version whitelist-json-field",
	"nsq_to_http": "channel consumer-opt content-type get header http-client-connect-timeout http-client-request-timeout lookupd-http-address " +
		"max-in-flight mode n nsqd-tcp-address post sample status-every topic version",
	"to_nsq": "delimiter nsqd-tcp-address producer-opt rate topic version",
}

// parseOld parses a command line of an old tool.
func parseOld(t *testing.T, tool string, args []string) (*oldJob, error) {
	t.Helper()
	i := slices.IndexFunc(oldTools, func(o oldTool) bool { return o.name == tool })
	f := flag.NewFlagSet(tool, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	translate := oldTools[i].declare(f)
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	return translate()
}

// Each old tool has the flags that it had, by one or two dashes.
func TestOldFlagsAreAllThere(t *testing.T) {
	for _, tool := range oldTools {
		code, help, stderr := execute(t, "compat", tool.name, "-help")
		if code != exitOK || stderr != "" {
			t.Errorf("%s: exit code %d, stderr %q", tool.name, code, stderr)
		}
		got := []string{}
		for line := range strings.Lines(help) {
			if name, found := strings.CutPrefix(line, "  -"); found {
				got = append(got, strings.Fields(name)[0])
			}
		}
		if text := strings.Join(got, " "); text != oldFlags[tool.name] {
			t.Errorf("%s has %s\nwant %s", tool.name, text, oldFlags[tool.name])
		}
		for _, dashes := range []string{"-", "--"} {
			if code, stdout, _ := execute(t, "compat", tool.name, dashes+"version"); code != exitOK || stdout != readVersion().String()+"\n" {
				t.Errorf("%s %sversion: exit code %d, stdout %q", tool.name, dashes, code, stdout)
			}
		}
	}
	if len(oldFlags) != len(oldTools) {
		t.Errorf("flags are known of %v", slices.Sorted(maps.Keys(oldFlags)))
	}
}

// Each flag means what it meant. The words are what follows the base of the tool, and what
// they add to rdy's command line.
func TestOldFlags(t *testing.T) {
	const (
		tailBase = "-topic t -nsqd-tcp-address a:1"
		tailLine = "tail t --nsqd a:1 --max-in-flight 200"
		nsqBase  = "-topic t -nsqd-tcp-address a:1"
		nsqLine  = "pub --topic t --mode all --quiet"
		httpBase = "-topic t -nsqd-tcp-address a:1"
		httpLine = " --mode least-failing --attributes=false --concurrency 100 --sample 1 --status-every 250"
		httpEnd  = " --connect-timeout 2s --timeout 20s --set default_requeue_delay,90s --set max_requeue_delay,15m --nsqd a:1 --channel nsq_to_http --max-in-flight 200"
		post     = " --content-type application/octet-stream"
		fileBase = "-nsqd-tcp-address a:1"
		fileLine = " --log-level info --append --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s"
		fileEnd  = " --nsqd a:1 --channel nsq_to_file --max-in-flight 200"
		copyBase = "-topic t -nsqd-tcp-address a:1 -destination-nsqd-tcp-address d:1"
		copyEnd  = " --status-every 250 --to d:1 --nsqd a:1 --channel nsq_to_nsq --max-in-flight 200"
		name     = " --filename <TOPIC>.<HOST>.%Y-%m-%d_%H.log"
		revName  = " --filename <TOPIC>.<HOST><REV>.%Y-%m-%d_%H.log"
		numbered = " --log-level info --rotate-size 9 --append --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s"
	)
	for _, tc := range []struct{ tool, args, want string }{
		{"nsq_tail", tailBase, tailLine},
		{"nsq_tail", tailBase + " --topic=u -topic t", tailLine + "\ntail u --nsqd a:1 --max-in-flight 200"},
		{"nsq_tail", "-topic t -nsqd-tcp-address :4150 -lookupd-http-address :4161 -lookupd-http-address https://l", "tail t --nsqd 127.0.0.1:4150 --lookupd 127.0.0.1:4161 --lookupd https://l --max-in-flight 200"},
		{"nsq_tail", tailBase + " -channel c", "tail t --nsqd a:1 --channel c --max-in-flight 200"},
		{"nsq_tail", tailBase + " -max-in-flight 3", "tail t --nsqd a:1 --max-in-flight 3"},
		{"nsq_tail", tailBase + " -n 3", tailLine + " -n 3"},
		{"nsq_tail", tailBase + " -n 0", tailLine},
		{"nsq_tail", tailBase + " -print-topic", tailLine + " --print-topic"},
		{"nsq_tail", tailBase + " -consumer-opt snappy,true -consumer-opt=msg-timeout,5s", tailLine + " --set snappy,true --set msg-timeout,5s"},

		{"to_nsq", nsqBase, nsqLine + " --nsqd a:1"},
		{"to_nsq", nsqBase + " -nsqd-tcp-address b:1", nsqLine + " --nsqd a:1 --nsqd b:1"},
		{"to_nsq", nsqBase + ` -delimiter \`, nsqLine + ` --delimiter \\ --nsqd a:1`},
		{"to_nsq", nsqBase + " -delimiter ,", nsqLine + " --delimiter , --nsqd a:1"},
		{"to_nsq", nsqBase + " -rate 7", nsqLine + " --rate 7 --nsqd a:1"},
		{"to_nsq", nsqBase + " -rate -1", nsqLine + " --nsqd a:1"},
		{"to_nsq", nsqBase + " -producer-opt deflate", nsqLine + " --nsqd a:1 --set deflate"},

		{"nsq_to_http", httpBase + " -post http://h -post http://i", "to-http t http://h http://i" + httpLine + post + httpEnd},
		{"nsq_to_http", httpBase + " -get http://h?d=%s&x=100%%", "to-http t http://h?d={{.Body}}&x=100%" + httpLine + " --method GET" + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -content-type a/b", "to-http t http://h" + httpLine + " --content-type a/b" + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -header a:1 -header A:2 -header b:3", "to-http t http://h" + httpLine + post + " --header A:2 --header b:3" + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -mode round-robin", "to-http t http://h" + strings.Replace(httpLine, "least-failing", "round-robin", 1) + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -mode epsilon-greedy", "to-http t http://h" + httpLine + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -mode all", "to-http t http://h" + strings.Replace(httpLine, "least-failing", "all", 1) + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -n 5", "to-http t http://h" + strings.Replace(httpLine, "100", "5", 1) + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -sample 0.25", "to-http t http://h" + strings.Replace(httpLine, "sample 1", "sample 0.25", 1) + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -status-every 0", "to-http t http://h" + strings.Replace(httpLine, "250", "0", 1) + post + httpEnd},
		{"nsq_to_http", httpBase + " -post http://h -http-client-connect-timeout 3s -http-client-request-timeout 4s", "to-http t http://h" + httpLine + post + strings.NewReplacer("timeout 2s", "timeout 3s", "20s", "4s").Replace(httpEnd)},
		{"nsq_to_http", httpBase + " -post http://h -channel c -max-in-flight 7", "to-http t http://h" + httpLine + post + strings.NewReplacer("nsq_to_http", "c", "200", "7").Replace(httpEnd)},
		{"nsq_to_http", httpBase + " -post http://h -consumer-opt max_attempts,3 -consumer-opt default_requeue_delay,1s", "note: --consumer-opt max_attempts has no effect: rdy drops no message\nto-http t http://h" + httpLine + post + httpEnd + " --set default_requeue_delay,1s"},
		{"nsq_to_http", "-topic t -lookupd-http-address l:1 -post http://h -consumer-opt max-attempts,0", "to-http t http://h" + httpLine + post + strings.Replace(httpEnd, "--nsqd a:1", "--lookupd l:1", 1)},

		{"nsq_to_file", fileBase + " -topic t", "to-file t --output-dir /tmp" + name + fileLine + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -topic u -output-dir /d", "to-file t u --output-dir /d" + name + fileLine + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -topic u -topic-pattern ^u", "to-file u --output-dir /tmp" + name + fileLine + fileEnd},
		{"nsq_to_file", "-lookupd-http-address l:1 -topic-pattern ^u", "to-file --output-dir /tmp" + name + " --log-level info --topic-pattern ^u" + strings.TrimPrefix(fileLine, " --log-level info") + " --lookupd l:1 --channel nsq_to_file --max-in-flight 200"},
		{"nsq_to_file", fileBase + " -topic t -topic-refresh 2m", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, "--set", "--set lookupd_poll_interval,2m0s --set", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -topic-refresh 1h", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, "--set", "--set lookupd_poll_interval,5m0s --set", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -filename-format /a%<TOPIC>.<DATETIME>.<HOST>.<PID> -datetime-format %Y%Q%% -host-identifier x%<SHORT_HOST>.<HOSTNAME>", "to-file t --output-dir /tmp --filename a%%<TOPIC>.%Y%%Q%%.x%%<HOST>.<HOSTNAME>.<PID>" + fileLine + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -gzip", "to-file t --output-dir /tmp" + revName + " --log-level info --compress gzip --compress-level 6 --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s" + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -gzip -gzip-level 9", "to-file t --output-dir /tmp" + revName + " --log-level info --compress gzip --compress-level 9 --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s" + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -work-dir /w", "to-file t --output-dir /tmp" + revName + " --log-level info --work-dir /w --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s" + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -work-dir /tmp", "to-file t --output-dir /tmp" + name + fileLine + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -skip-empty-files", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, " --empty-files", "", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -rotate-size 9", "to-file t --output-dir /tmp" + revName + numbered + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -rotate-interval 1h", "to-file t --output-dir /tmp" + revName + " --log-level info --rotate-interval 1h0m0s --empty-files --sync-interval 30s --set lookupd_poll_timeout,5s" + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -sync-interval 1s", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, "30s", "1s", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -sync-interval 1h", "note: --sync-interval is lowered to 5m0s, so that nsqd does not time the messages out\nto-file t --output-dir /tmp" + name + strings.Replace(fileLine, "30s", "5m0s", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -log-level FATAL -log-prefix x -http-client-connect-timeout 1s", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, "info", "error", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -http-client-request-timeout 9s", "to-file t --output-dir /tmp" + name + strings.Replace(fileLine, "timeout,5s", "timeout,9s", 1) + fileEnd},
		{"nsq_to_file", fileBase + " -topic t -channel c -max-in-flight 7 -consumer-opt snappy", "to-file t --output-dir /tmp" + name + fileLine + strings.NewReplacer("nsq_to_file", "c", "200", "7").Replace(fileEnd) + " --set snappy"},

		{"nsq_to_nsq", copyBase, "copy t" + copyEnd},
		{"nsq_to_nsq", copyBase + " -topic u -destination-nsqd-tcp-address :2", "copy t u --status-every 250 --to d:1 --to 127.0.0.1:2 --nsqd a:1 --channel nsq_to_nsq --max-in-flight 200"},
		{"nsq_to_nsq", copyBase + " -destination-topic v", "copy t --to-topic v" + copyEnd},
		{"nsq_to_nsq", copyBase + " -mode round-robin -status-every 0", "copy t" + strings.Replace(copyEnd, "250", "0", 1)},
		{"nsq_to_nsq", copyBase + " -mode epsilon-greedy -consumer-opt snappy -producer-opt deflate", "copy t --status-every 250 --to d:1 --to-set deflate --nsqd a:1 --channel nsq_to_nsq --max-in-flight 200 --set snappy"},
		{"nsq_to_nsq", "-topic t -lookupd-http-address l:1 -destination-nsqd-tcp-address d:1 -channel c -max-in-flight 7", "copy t --status-every 250 --to d:1 --lookupd l:1 --channel c --max-in-flight 7"},
		{"nsq_to_nsq", copyBase + " -require-json-field f", `copy t --jq select(has("f"))` + copyEnd},
		{"nsq_to_nsq", copyBase + " -require-json-field f -require-json-value v", `copy t --jq if has("f") then select(.["f"] | . == "v") else error("no field " + "f") end` + copyEnd},
		{"nsq_to_nsq", copyBase + " -require-json-field f -require-json-value 1e3", `copy t --jq if has("f") then select(.["f"] | . == "1e3" or . == 1000) else error("no field " + "f") end` + copyEnd},
		{"nsq_to_nsq", copyBase + " -require-json-field f -whitelist-json-field a -whitelist-json-field b", `copy t --jq select(has("f")) | with_entries(select(.key | IN("a", "b")))` + copyEnd},
	} {
		job, err := parseOld(t, tc.tool, strings.Fields(tc.args))
		if err != nil {
			t.Errorf("%s %s: %v", tc.tool, tc.args, err)
			continue
		}
		var got []string
		for _, note := range job.notes {
			got = append(got, "note: "+note)
		}
		for _, line := range job.lines {
			got = append(got, strings.Join(line, " "))
			expectValid(t, line)
		}
		if text := strings.Join(got, "\n"); text != tc.want {
			t.Errorf("%s %s\n got %s\nwant %s", tc.tool, tc.args, text, tc.want)
		}
	}
}

// The filters of nsq_to_nsq pass and change what they passed and changed there; what that lost
// or gave back is an error, and so is kept.
func TestOldFilter(t *testing.T) {
	for _, tc := range []struct {
		field, value string
		keep         []string
		body, want   string // "" for nothing
		fails        bool
	}{
		{"f", "", nil, `{"f":null}`, `{"f":null}`, false},
		{"f", "", nil, `{"g":1}`, "", false},
		{"f", "", nil, `not json`, "", true},
		{"f", "", nil, `7`, "", true},
		{"f", "v", nil, `{"f":"v"}`, `{"f":"v"}`, false},
		{"f", "v", nil, `{"f":"w"}`, "", false},
		{"f", "v", nil, `{"f":["v"]}`, "", false},
		{"f", "v", nil, `{"g":"v"}`, "", true},
		{"f", "1", nil, `{"f":1.0}`, `{"f":1.0}`, false},
		{"f", "1", nil, `{"f":"1"}`, `{"f":"1"}`, false},
		{"f", "1", nil, `{"f":true}`, "", false},
		{"f", "true", nil, `{"f":true}`, "", false},
		{"f", "nan", nil, `{"f":"nan"}`, `{"f":"nan"}`, false},
		{`a"\(1)`, "", nil, `{"a\"\\(1)":2}`, `{"a\"\\(1)":2}`, false},
		{"", "", []string{"b", "a"}, `{"a":12345678901234567890,"c":2}`, `{"a":12345678901234567890}`, false},
		{"f", "v", []string{"a"}, `{"f":"v","a":1,"b":2}`, `{"a":1}`, false},
		{"", "", []string{"a"}, `{"b":1}`, `{}`, false},
	} {
		var filter copyFilter
		if err := filter.Set(oldFilter(tc.field, tc.value, tc.keep)); err != nil {
			t.Error(err)
			continue
		}
		results, err := filter.apply(t.Context(), nil, []byte(tc.body))
		if got := string(bytes.Join(results, []byte("\n"))); got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%q is %q with fields %q, %s: got %q, error %v", tc.field, tc.value, tc.keep, tc.body, got, err)
		}
	}
}

// expectValid checks that rdy knows the command and the flags of a line.
func expectValid(t *testing.T, line []string) {
	t.Helper()
	cmd, rest, err := newRoot(&app{}).Find(line)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		t.Errorf("rdy %s: %v", strings.Join(line, " "), err)
	}
}

// What an old tool refuses, or takes and does not obey, is an error that says so.
func TestOldFlagsRefused(t *testing.T) {
	const from = " -topic t -nsqd-tcp-address a:1 "
	for _, tc := range []struct{ tool, args, want string }{
		{"nsq_tail", "-nsqd-tcp-address a:1", "--topic is required"},
		{"nsq_tail", "-topic t", "--nsqd-tcp-address or --lookupd-http-address is required"},
		{"nsq_tail", "-topic t -nsqd-tcp-address a", "--nsqd-tcp-address: want host:port"},
		{"nsq_tail", "-topic t -nsqd-tcp-address http://a:1", "--nsqd-tcp-address: want host:port"},
		{"nsq_tail", "-topic t -lookupd-http-address a", "--lookupd-http-address: want host:port"},
		{"nsq_tail", from + "-consumer-opt bogus,1", "--consumer-opt: "},
		{"to_nsq", "-nsqd-tcp-address a:1", "--topic is required"},
		{"to_nsq", "-topic t", "--nsqd-tcp-address is required"},
		{"to_nsq", from + "-delimiter ab", "--delimiter must be a single byte"},
		{"to_nsq", from + "-producer-opt bogus", "--producer-opt: "},
		{"nsq_to_http", "-post http://h -nsqd-tcp-address a:1", "--topic and --channel are required"},
		{"nsq_to_http", from + "-post http://h -channel=", "--topic and --channel are required"},
		{"nsq_to_http", from, "--get or --post is required"},
		{"nsq_to_http", from + "-post http://h -get http://i?%s", "exclude each other"},
		{"nsq_to_http", from + "-get http://h", "want a URL with one %s"},
		{"nsq_to_http", from + "-get http://h?%s -content-type a/b", "--content-type needs --post"},
		{"nsq_to_http", from + "-post http://h -mode typo", "--mode typo: want hostpool"},
		{"nsq_to_http", from + "-post http://h -consumer-opt bogus,1", "--consumer-opt: "},
		{"nsq_to_file", from + "-consumer-opt bogus,1", "--consumer-opt: "},
		{"nsq_to_file", from + "-channel=", "--channel is required"},
		{"nsq_to_file", "-nsqd-tcp-address a:1", "--topic or --topic-pattern is required"},
		{"nsq_to_file", "-topic-pattern x -nsqd-tcp-address a:1", "needs --lookupd-http-address"},
		{"nsq_to_file", from + "-topic-pattern (", "--topic-pattern: "},
		{"nsq_to_file", from + "-topic-pattern u", "no --topic matches"},
		{"nsq_to_file", from + "-gzip-level 0", "want 1 to 9"},
		{"nsq_to_file", from + "-gzip -filename-format x", "missing <REV>"},
		{"nsq_to_file", from + "-topic-refresh 0", "--topic-refresh should be positive"},
		{"nsq_to_file", from + "-http-client-request-timeout 0", "should be positive"},
		{"nsq_to_nsq", from, "--destination-nsqd-tcp-address is required"},
		{"nsq_to_nsq", from + "-destination-nsqd-tcp-address d", "--destination-nsqd-tcp-address: want host:port"},
		{"nsq_to_nsq", from + "-destination-nsqd-tcp-address d:1 -mode all", "--mode all: want hostpool"},
		{"nsq_to_nsq", from + "-destination-nsqd-tcp-address d:1 -channel=", "--topic and --channel are required"},
		{"nsq_to_nsq", from + "-destination-nsqd-tcp-address d:1 -require-json-value 1", "needs --require-json-field"},
		{"nsq_to_nsq", from + "-destination-nsqd-tcp-address d:1 -producer-opt bogus", "--producer-opt: "},
		{"nsq_stat", "-topic t -nsqd-http-address a:1", "--topic and --channel are required"},
		{"nsq_stat", "-topic t -channel c", "--nsqd-http-address or --lookupd-http-address is required"},
		{"nsq_stat", "-topic t -channel c -nsqd-http-address a", "want host:port"},
		{"nsq_stat", "-topic t -channel c -nsqd-http-address a:1 -count 0", "should be positive"},
		{"nsq_stat", "-topic t -channel c -nsqd-http-address a:1 -interval 0", "should be positive"},
	} {
		if _, err := parseOld(t, tc.tool, strings.Fields(tc.args)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: got error %v, want %q", tc.tool, tc.args, err, tc.want)
		}
	}
	_, err := parseOld(t, "nsq_tail", strings.Fields(from+"-consumer-opt auth_secrets,hush"))
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("the error shows a value: %v", err)
	}
}

// A link or a copy with the name of an old tool is that tool.
func TestOldName(t *testing.T) {
	for path, want := range map[string]string{
		"/usr/bin/nsq_tail": "nsq_tail", "to_nsq": "to_nsq", "./nsq_to_file.exe": "nsq_to_file", "NSQ_STAT.EXE": "nsq_stat",
		"/usr/bin/rdy": "", "nsq_tail2": "", "nsqd": "",
	} {
		if got := oldName(path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
