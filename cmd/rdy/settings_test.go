package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/nsqtest"
)

const secret = "s3cret-s3cret"

// pub and tail send the secret of the environment, of a file or of --set to nsqd, and
// print it nowhere.
func TestAuthSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tc := range []struct {
		name, env string
		flags     []string
		accepted  bool
	}{
		{"none", "", nil, false},
		{"environment", secret, nil, true},
		{"wrong in the environment", "wrong", nil, false},
		{"file", "", []string{"--auth-secret-file", file("bare", secret)}, true},
		{"file before environment", "wrong", []string{"--auth-secret-file", file("line", secret+"\n")}, true},
		{"file of Windows", "", []string{"--auth-secret-file", file("crlf", secret+"\r\n")}, true},
		{"file with a wrong one", secret, []string{"--auth-secret-file", file("wrong", "wrong")}, false},
		{"--set before environment", "wrong", []string{"--set", "auth_secret," + secret}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := nsqtest.NewNsqd(t, nsqtest.Options{AuthSecret: secret})
			t.Setenv(secretEnv, tc.env)
			want := exitFailure
			if tc.accepted {
				want = exitOK
			}
			flags := append([]string{"--nsqd", d.Addr(), "--log-level", "debug"}, tc.flags...)
			code, _, pubErr := executeWith(t, "line\n", append(flags, "pub", "--topic", "t", "--retry-for", "0")...)
			if code != want {
				t.Errorf("pub: exit code %d, stderr %s", code, pubErr)
			}
			d.Publish("t", "another")
			code, _, tailErr := execute(t, append(flags, "tail", "t", "--channel", "c", "-n", "1")...)
			if code != want {
				t.Errorf("tail: exit code %d, stderr %s", code, tailErr)
			}
			if strings.Contains(pubErr+tailErr, secret) {
				t.Errorf("the secret is shown: %s%s", pubErr, tailErr)
			}
		})
	}
}

// No mistake with the flags shows the secret.
func TestSecretIsNotShown(t *testing.T) {
	t.Setenv(secretEnv, "")
	for _, tc := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--set", "auth_secret=" + secret}, "want the option's name, a comma and its value: auth_secret,VALUE"},
		{[]string{"--set", "auth_secret:" + secret}, "a comma"},
		{[]string{"--set", "auth_secret " + secret}, "a comma"},
		{[]string{"--set", "auth_sekret," + secret}, "invalid option auth_sekret"},
		{[]string{"--set", "auth_sekret=" + secret}, "a comma"},
		{[]string{"--set", "auth_secret", secret}, "auth_secret"},
		{[]string{"--set", "auth-secret," + secret, "--auth-secret-file", "f"}, "exclude each other"},
		{[]string{"--auth-secret-file", "/no/such/file"}, "no such file"},
		{[]string{"--auth-secret-file", os.DevNull}, "has 0 bytes"},
		{[]string{"--auth-secret-file", "/dev/zero"}, "want a secret of at most"},
	} {
		for _, command := range [][]string{{"pub", "--topic", "t"}, {"tail", "t"}} {
			line := append(append(command, "--nsqd", unreachable), tc.flags...)
			code, stdout, stderr := execute(t, line...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("%q: exit code %d, stdout %q, stderr %q", line, code, stdout, stderr)
			}
			expectOneLine(t, stderr)
			if strings.Contains(stderr, secret) {
				t.Errorf("%q: the secret is shown: %s", line, stderr)
			}
		}
	}
}

// What the user sets by name goes before the defaults of tail.
func TestTailOptionsByName(t *testing.T) {
	for _, tc := range []struct {
		flags []string
		want  int
	}{
		{nil, namedInFlight},
		{[]string{"--set", "max_in_flight,7"}, 7},
		{[]string{"--set", "max_in_flight,7", "--max-in-flight", "9"}, 9},
		{[]string{"--max-in-flight", "9", "-n", "3"}, 3},
	} {
		_, _, stderr := execute(t, append([]string{"tail", "t", "--channel", "c", "--nsqd", unreachable}, tc.flags...)...)
		if !strings.HasPrefix(stderr, takesFrom("c", tc.want)) {
			t.Errorf("%q: stderr %q, want %d in flight", tc.flags, stderr, tc.want)
		}
	}
}
