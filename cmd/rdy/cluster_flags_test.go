package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/admin"
)

func TestHTTPAddr(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"127.0.0.1:4161", "127.0.0.1:4161"},
		{"[::1]:4161", "[::1]:4161"},
		{"http://lookup:4161/", "lookup:4161"},
		{"http://lookup", "lookup:80"},
		{"https://lookup", "https://lookup:443"},
		{"https://lookup:4161/nsq/", "https://lookup:4161/nsq"},
		{"http://lookup/nsq", "http://lookup:80/nsq"},
		{"lookup", ""},
		{":4161", ""},
		{"lookup:0", ""},
		{"lookup:http", ""},
		{"lookup/x:4161", ""},
		{"ftp://lookup:4161", ""},
		{"http://", ""},
		{"http://:4161", ""},
		{"http://lookup:65536", ""},
		{"http://user:secret@lookup:4161", ""},
		{"http://lookup:4161?token=secret", ""},
		{"http://lookup:4161#x", ""},
		{"http://look\x1bup:4161", ""},
	} {
		if addr, ok := httpAddr(tc.in); ok != (tc.want != "") || ok && addr != tc.want {
			t.Errorf("%q: got %q, %v", tc.in, addr, ok)
		}
	}
}

// The environment names the cluster only if no flag does.
func TestClusterFromEnvironment(t *testing.T) {
	t.Setenv(lookupdEnv, "a:1, https://b:2,,a:1")
	t.Setenv(nsqdHTTPEnv, "c:3")
	for _, tc := range []struct {
		flags, wantLookupds, wantNSQDs []string
	}{
		{nil, []string{"a:1", "https://b:2"}, []string{"c:3"}},
		{[]string{"--nsqd-http", "d:4"}, nil, []string{"d:4"}},
	} {
		got := settled(t, "topic list", tc.flags...)
		if !slices.Equal(got[lookupdKey], tc.wantLookupds) || !slices.Equal(got[nsqdHTTPKey], tc.wantNSQDs) {
			t.Errorf("%v: got %v", tc.flags, got)
		}
	}
	t.Setenv(lookupdEnv, "http://user:secret@a:1")
	code, stdout, stderr := execute(t, "stat")
	if code != exitUsage || stdout != "" || !strings.Contains(stderr, lookupdEnv) || strings.Contains(stderr, "secret") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A wrong address may have a password in it: it is not shown.
func TestWrongAddressIsNotShown(t *testing.T) {
	for _, flag := range []string{"--lookupd", "--nsqd-http"} {
		code, _, stderr := execute(t, "stat", flag, "http://user:secret@a:1")
		if code != exitUsage || strings.Contains(stderr, "secret") || !strings.Contains(stderr, `"`+flag+`"`) {
			t.Errorf("exit code %d, stderr %q", code, stderr)
		}
	}
}

func TestNodeErrors(t *testing.T) {
	refused := func(addr string) error {
		return &admin.Error{Addr: addr, Op: "GET /stats", Err: errors.New("refused")}
	}
	a := nodeError{Addr: "a:1", Request: "GET /stats", Error: "refused"}
	b := nodeError{Addr: "b:1", Request: "GET /stats", Error: "refused"}
	for _, tc := range []struct {
		err  error
		want []nodeError
	}{
		{nil, []nodeError{}},
		{refused("a:1"), []nodeError{a}},
		{errors.Join(refused("a:1"), refused("b:1")), []nodeError{a, b}},
		{errors.Join(errors.Join(refused("a:1")), errors.New("other")), []nodeError{a, {Error: "other"}}},
		{fmt.Errorf("nothing deleted: %w", errors.Join(refused("a:1"), refused("b:1"))), []nodeError{a, b}},
		{fmt.Errorf("nothing deleted: %w", refused("a:1")), []nodeError{{Error: "nothing deleted: a:1: GET /stats: refused"}}},
	} {
		if got := nodeErrors(tc.err); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v: got %v, want %v", tc.err, got, tc.want)
		}
	}
}

func TestNotFound(t *testing.T) {
	v := &admin.View{Topics: []admin.Topic{{Name: "t", Channels: []admin.Channel{{Name: "c"}}}}}
	for i := range 12 {
		v.NSQDs = append(v.NSQDs, admin.NSQD{Addr: fmt.Sprintf("n%d:1", i)})
	}
	v.NSQDs[1].Error = "refused"
	for _, tc := range []struct{ topic, channel, want string }{
		{"", "", ""},
		{"t", "", ""},
		{"t", "c", ""},
		{"s", "", "topic s not found on nsqd n0:1, n2:1, n3:1, n4:1, n5:1, n6:1, n7:1, n8:1, n9:1, n10:1 and 1 more"},
		{"t", "d", "channel d of topic t not found on nsqd n0:1"},
	} {
		err := notFound(v, tc.topic, tc.channel)
		if (err != nil) != (tc.want != "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s %s: %v", tc.topic, tc.channel, err)
		}
	}
	if err := notFound(&admin.View{}, "t", ""); err == nil || !strings.Contains(err.Error(), "no nsqd responded") {
		t.Errorf("error %v", err)
	}
}
