package story

import (
	"strings"
	"testing"
)

// play replaces the lines after each command by what it prints now, and keeps the rest.
func TestPlay(t *testing.T) {
	begin := func(_ *testing.T, words []string) Player {
		name := words[0]
		return func(words []string) []string {
			if words[0] == "nothing" {
				return nil
			}
			return []string{name + " " + strings.Join(words, "+"), "and that"}
		}
	}
	const text = "# A story.\nonce a\nx  y\n> old\n\nnothing\n> old\nonce b\nz\n"
	const want = "# A story.\nonce a\nx  y\n> a x+y\n> and that\n\nnothing\nonce b\nz\n> b z\n> and that\n"
	if got := play(t, text, "once", begin); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
