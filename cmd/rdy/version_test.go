package main

import (
	"encoding/json"
	"runtime"
	"testing"
)

func TestVersion(t *testing.T) {
	code, stdout, stderr := execute(t, "version", "--json")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	var v version
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatal(err)
	}
	if v != readVersion() || v.Version == "" || v.Go != runtime.Version() {
		t.Errorf("got %+v", v)
	}
	if _, text, _ := execute(t, "version"); text != v.String()+"\n" {
		t.Errorf("got %q, want %q", text, v)
	}
}

func TestVersionText(t *testing.T) {
	for _, tc := range []struct {
		v    version
		want string
	}{
		{
			version{Version: "(devel)", Go: "go1.26", Platform: "linux/amd64"},
			"rdy (devel), go1.26, linux/amd64",
		},
		{
			version{Version: "v1.2.3", Commit: "abc", NSQD: "v1.3.0", Go: "go1.26", Platform: "linux/amd64"},
			"rdy v1.2.3, commit abc, nsqd v1.3.0, go1.26, linux/amd64",
		},
		{
			version{Version: "v1.2.3", Commit: "abc", Modified: true, Go: "go1.26", Platform: "linux/amd64"},
			"rdy v1.2.3, commit abc with changes, go1.26, linux/amd64",
		},
	} {
		if got := tc.v.String(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
