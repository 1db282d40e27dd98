package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settled returns the values that the flags of a command have when it runs.
func settled(t *testing.T, path string, flags ...string) map[string][]string {
	t.Helper()
	values, err := settle(path, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func settle(path string, flags ...string) (map[string][]string, error) {
	a := &app{}
	cmd, _, err := newRoot(a).Find(strings.Fields(path))
	if err == nil {
		err = cmd.ParseFlags(flags)
	}
	if err == nil {
		err = a.settle(cmd)
	}
	values := make(map[string][]string)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		switch v := f.Value.(type) {
		case *httpAddrsFlag:
			values[profileKeyOf(f)] = *v
		case *addrsFlag:
			values[profileKeyOf(f)] = *v
		case *settings:
			values[profileKeyOf(f)] = *v
		default:
			if key := profileKeyOf(f); key != "" {
				values[key] = []string{v.String()}
			}
		}
	})
	return values, err
}

// useConfig makes text the configuration file of the test.
func useConfig(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rdy", "config.toml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(configEnv, path)
	return path
}

const twoProfiles = `
use = "staging"

[profile.staging]
lookupd = ["a:1", "https://b:2"]
nsqd = ["c:3"]
nsqd_http = ["d:4"]
timeout = "5s"
auth_secret_file = "/secret"
[profile.staging.set]
snappy = true
max-in-flight = 7
client_id = "x"

[profile.other]
nsqd = ["o:1"]
`

// A flag comes before the environment, that before the profile; --profile comes before the
// environment. Addresses come from one place only.
func TestProfilePrecedence(t *testing.T) {
	useConfig(t, twoProfiles)
	for _, tc := range []struct {
		name, command string
		env           map[string]string
		flags         []string
		want          string // key=values of the flags, sorted
	}{
		{"profile", "stat", nil, nil, "lookupd=a:1,https://b:2 nsqd_http=d:4 timeout=5s"},
		{"reader", "tail", nil, nil, "auth_secret_file=/secret lookupd=a:1,https://b:2 nsqd= nsqd_http=d:4 set=client_id,x,max_in_flight,7,snappy,true"},
		{"reader without nsqlookupd", "to-http", nil, []string{"--profile", "other"}, "auth_secret_file= lookupd= nsqd=o:1 set="},
		{"publisher", "pub", nil, nil, "auth_secret_file=/secret lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,snappy,true"},
		{"flag", "stat", nil, []string{"--lookupd", "f:1"}, "lookupd=f:1 nsqd_http= timeout=5s"},
		{"flag before environment", "stat", map[string]string{"RDY_NSQD_HTTP": "e:1", "RDY_TIMEOUT": "7s"}, []string{"--lookupd", "f:1"}, "lookupd=f:1 nsqd_http= timeout=7s"},
		{"environment", "stat", map[string]string{"RDY_LOOKUPD": "e:1"}, nil, "lookupd=e:1 nsqd_http= timeout=5s"},
		{"environment of the reader", "to-file", map[string]string{"RDY_NSQD": "e:1,e:2"}, nil, "auth_secret_file=/secret lookupd= nsqd=e:1,e:2 set=client_id,x,max_in_flight,7,snappy,true"},
		{"--profile before environment", "stat", map[string]string{"RDY_LOOKUPD": "e:1"}, []string{"--profile", "staging"}, "lookupd=a:1,https://b:2 nsqd_http=d:4 timeout=5s"},
		{"RDY_PROFILE", "pub", map[string]string{"RDY_PROFILE": "other"}, nil, "auth_secret_file= lookupd= nsqd=o:1 set="},
		{"environment before RDY_PROFILE", "pub", map[string]string{"RDY_PROFILE": "other", "RDY_NSQD": "e:1"}, nil, "auth_secret_file= lookupd= nsqd=e:1 set="},
		{"no profile", "stat", nil, []string{"--profile", ""}, "lookupd= nsqd_http= timeout=10s"},
		{"options", "pub", nil, []string{"--set", "deflate", "--set", "snappy,false"}, "auth_secret_file=/secret lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,deflate,snappy,false"},
		{"secret of a flag", "pub", nil, []string{"--set", "auth_secret,y", "--profile", "staging"}, "auth_secret_file= lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,snappy,true,auth_secret,y"},
		{"secret of the environment", "pub", map[string]string{"RDY_AUTH_SECRET": "z"}, nil, "auth_secret_file= lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,snappy,true"},
		{"secret file of the environment", "pub", map[string]string{"RDY_AUTH_SECRET": "z", "RDY_AUTH_SECRET_FILE": "/f"}, nil, "auth_secret_file=/f lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,snappy,true"},
		{"timeout of another kind", "to-http", nil, nil, "auth_secret_file=/secret lookupd=a:1,https://b:2 nsqd= set=client_id,x,max_in_flight,7,snappy,true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			values := settled(t, tc.command, tc.flags...)
			var got []string
			for _, key := range slices.Sorted(maps.Keys(values)) {
				got = append(got, key+"="+strings.Join(values[key], ","))
			}
			if text := strings.Join(got, " "); text != tc.want {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
		})
	}
}

// Every flag that names a cluster gets its value from a profile.
func TestEveryCommandObeysProfiles(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, name := range []string{"lookupd", "nsqd", "nsqd-http", "auth-secret-file", settingsName} {
			if f := cmd.LocalFlags().Lookup(name); f != nil && profileKeyOf(f) == "" && cmd.CommandPath() != "rdy profile set" {
				t.Errorf("%s --%s", cmd.CommandPath(), name)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
}

// For Nagios a damaged file is UNKNOWN, not CRITICAL.
func TestDamagedProfilesInACheck(t *testing.T) {
	useConfig(t, "use = 1")
	if code, _, _ := execute(t, "check", "cluster"); code != checkUnknown {
		t.Errorf("exit code %d, want %d", code, checkUnknown)
	}
}

// A damaged file is one clear error, and no matter to commands that need no cluster.
func TestDamagedProfiles(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"use = \"a\"\n[profile.a\n", "line 2: "},
		{"use = 1", "use: want the name of a profile"},
		{"uses = \"a\"", `unknown key "uses", want use or profile`},
		{"profile = 1", "want tables such as [profile.staging]"},
		{"[profile]\na = 1", "profile a: want a table"},
		{"[profile.\"a/b\"]", `invalid profile name "a/b"`},
		{"[profile.a]\nlookupds = [\"a:1\"]", `profile a: unknown key "lookupds", want lookupd, nsqd, `},
		{"[profile.a]\nlookupd = [\"http://u:secret@a\"]", "profile a: lookupd: want host:port"},
		{"[profile.a]\nnsqd = [1]", "profile a: nsqd: want strings in quotes"},
		{"[profile.a]\nnsqd = 1", "profile a: nsqd: want a list"},
		{"[profile.a]\ntimeout = 5", "profile a: timeout: want a string in quotes"},
		{"[profile.a]\ntimeout = \"5\"", "profile a: timeout: want a duration"},
		{"[profile.a]\nauth_secret_file = \"\"", "auth_secret_file: want the name of a file"},
		{"[profile.a]\nset = 1", "set: want a table"},
		{"[profile.a.set]\nbogus = 1", "set: option bogus"},
		{"[profile.a.set]\nsnappy = [true]", "want a string, number or boolean"},
		{"[profile.a.set]\nauth-secret = \"secret\"", "keep the secret in a file of its own"},
		{"use = \"b\"\n[profile.a]", `no profile "b" in `},
	} {
		path := useConfig(t, tc.text)
		code, stdout, stderr := execute(t, "stat", "--lookupd", "127.0.0.1:1")
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) || !strings.Contains(stderr, path) || strings.Contains(stderr, "u:secret") {
			t.Errorf("%q: exit code %d, stderr %q", tc.text, code, stderr)
		}
		expectOneLine(t, stderr)
		if code, _, stderr := execute(t, "version"); code != exitOK || stderr != "" {
			t.Errorf("%q: version has exit code %d, stderr %q", tc.text, code, stderr)
		}
	}
}

func TestProfileCommands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "rdy.toml")
	t.Setenv(configEnv, path)
	cert, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cert.remove() })
	t.Chdir(cert.dir)
	work, ca := cert.dir, filepath.Base(cert.certFile)
	for _, tc := range []struct {
		line string
		code int
		want string // part of stderr, or of stdout if there is no stderr
	}{
		{"profile list", exitOK, "no profiles in"},
		{"profile show", exitOK, "no profile in use; file"},
		{"profile use a", exitFailure, "there is none"},
		{"profile set a --lookupd l:1 --lookupd l:2 --timeout 3s", exitOK, "saved profile a"},
		{"profile set a --set snappy --set tls_root_ca_file," + ca + " --auth-secret-file key", exitOK, "saved profile a"},
		{"profile set b --nsqd n:1 --nsqd-http h:1", exitOK, "saved profile b"},
		{"profile set b --set auth_secret,x", exitUsage, "holds no secret"},
		{"profile set b --unset bogus", exitUsage, "--unset bogus: want lookupd"},
		{"profile set a/b --nsqd n:1", exitUsage, "invalid profile name"},
		{"profile set", exitUsage, "want the name of one profile"},
		{"profile use c", exitFailure, "there are a, b"},
		{"profile use a --none", exitUsage, "exclude each other"},
		{"profile use a", exitOK, "using profile a"},
		{"profile list", exitOK, "*  a        l:1, l:2"},
		{"profile show", exitOK, "lookupd               l:1, l:2"},
		{"profile show", exitOK, "set.tls_root_ca_file  " + filepath.Join(work, ca)},
		{"profile show b", exitOK, "nsqd       n:1"},
		{"profile show b", exitOK, "timeout    10s    default"},
		{"profile show b --lookupd f:1", exitOK, "lookupd  f:1    --lookupd"},
		{"profile show c", exitFailure, `no profile "c"`},
		{"stat --profile c", exitUsage, `no profile "c"`},
		{"profile set a --unset lookupd --unset set.snappy --nsqd n:2", exitOK, "saved profile a"},
		{"profile delete a", exitOK, "deleted profile a"},
		{"profile delete a", exitFailure, `no profile "a"`},
		{"profile use b", exitOK, "using profile b"},
		{"profile use --none", exitOK, "using no profile"},
		{"stat", exitUsage, "--lookupd or --nsqd-http is missing"},
	} {
		code, stdout, stderr := execute(t, strings.Fields(tc.line)...)
		if code != tc.code || !strings.Contains(stdout+stderr, tc.want) || stdout != "" && stderr != "" {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %d and %q", tc.line, code, stdout, stderr, tc.code, tc.want)
		}
		if tc.line == "profile set a --unset lookupd --unset set.snappy --nsqd n:2" {
			_, got, _ := execute(t, "profile", "show", "--jq", "[.settings[].name] | join(\" \")")
			if got != "nsqd timeout auth_secret_file set.tls_root_ca_file\n" {
				t.Errorf("got %q", got)
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

// No output has a secret in it.
func TestProfileShowHidesSecrets(t *testing.T) {
	useConfig(t, twoProfiles)
	t.Setenv(secretEnv, "hush")
	for _, flags := range [][]string{nil, {"--set", "auth_secret,hush"}} {
		for _, format := range []string{"--log-level=warn", "--json"} {
			_, stdout, stderr := execute(t, append([]string{"profile", "show", format}, flags...)...)
			if !strings.Contains(stdout, "***") || strings.Contains(stdout+stderr, "hush") {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
		}
	}
	_, stdout, _ := execute(t, "profile", "show", "--json")
	var v profileView
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(v.Settings, func(s profileSetting) bool { return s.Name == secretOption }); i < 0 || v.Settings[i].From != "environment variable "+secretEnv {
		t.Errorf("got %+v", v.Settings)
	}
}

// A link to the file stays a link, and a directory that cannot be written is an error.
func TestProfileFileIsReplaced(t *testing.T) {
	path := useConfig(t, twoProfiles)
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(path, link); err != nil {
		if runtime.GOOS == "windows" { // where links need a privilege
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Setenv(configEnv, link)
	if code, _, stderr := execute(t, "profile", "use", "other"); code != exitOK {
		t.Fatal(stderr)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), "use = 'other'") {
		t.Errorf("error %v, file:\n%s", err, data)
	}
	t.Setenv(configEnv, "/dev/null/rdy.toml")
	code, _, stderr := execute(t, "profile", "set", "a", "--nsqd", "a:1")
	if code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	expectOneLine(t, stderr)
}
