package main

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/admin"
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
	if _, text, _ := execute(t, "version"); text != v.String()+"\ntested with nsqd 1.2.1 and 1.3.0\n" {
		t.Errorf("got %q, want %q", text, v)
	}
}

// The tests of package admin read what these versions have said, and the real nsqd of all
// other tests is the built-in one.
func TestTestedVersions(t *testing.T) {
	files, err := filepath.Glob("../../admin/testdata/stats-*.json")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range files {
		name = strings.TrimPrefix(filepath.Base(name), "stats-")
		found = append(found, strings.TrimSuffix(name, ".json"))
	}
	if !slices.Equal(found, testedNSQDs[:]) {
		t.Errorf("admin is tested with %v, rdy says %v", found, testedNSQDs)
	}
	v, err := (&admin.Cluster{NSQDs: []string{startCluster(t, 1).nsqds[0].HTTPAddr}, Client: statsClient}).Poll(t.Context())
	if err != nil || !slices.Contains(testedNSQDs[:], v.NSQDs[0].Version) {
		t.Errorf("nsqd %v is built in, rdy says %v; error %v", v.NSQDs, testedNSQDs, err)
	}
}

// --version prints the same, on every command and whatever else the command needs.
func TestVersionFlag(t *testing.T) {
	for _, line := range []string{"--version", "tail --version", "pub --version --nsqd 127.0.0.1:1", "topic list --version", "help --version", "version --version"} {
		code, stdout, stderr := execute(t, strings.Fields(line)...)
		if code != exitOK || stdout != readVersion().text() || stderr != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", line, code, stdout, stderr)
		}
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
