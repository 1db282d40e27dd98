package transcripts

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Most scripts wait most of the time.
	if err := flag.Set("test.parallel", "50"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// busy bounds how many scripts that do not wait play at a time. More of them would only
// hold up those that have to be in time.
var busy = make(chan struct{}, 6)

// Every script has the same transcript with the fake and with the real nsqd, except those
// that name an item of the list in nsqtest's documentation. Each item has such a script.
func TestScripts(t *testing.T) {
	configs := configs(t)
	unproven := differences(t, "nsqd")
	unseen := newCodes()
	t.Cleanup(func() {
		if left := unseen.left(); len(left) > 0 {
			t.Errorf("no script has these error codes: %v", left)
		}
	})
	names := make(map[string]bool)
	for _, s := range readScripts(t) {
		if names[s.name] {
			t.Errorf("two scripts have the name %q", s.name)
		}
		names[s.name] = true
		c, ok := configs[s.config]
		if !ok {
			t.Fatalf("script %q: no config %q", s.name, s.config)
		}
		if _, listed := unproven[s.differs]; s.differs != "" && !listed {
			t.Errorf("script %q: nsqtest's documentation has no item %q", s.name, s.differs)
		}
		unproven[s.differs] = true
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.waits() == 0 {
				busy <- struct{}{}
				defer func() { <-busy }()
			}
			unseen.remove(compare(t, c, listed(s.steps), s.differs))
		})
	}
	for item, proven := range unproven {
		if !proven {
			t.Errorf("no script shows the difference %q", item)
		}
	}
}

// codes are nsqd's error codes that no transcript has shown yet.
type codes struct {
	mu     sync.Mutex
	unseen map[string]bool
}

// newCodes returns all codes but E_AUTH_ERROR, which nsqd cannot send: it means that
// sending has failed.
func newCodes() *codes {
	c := &codes{unseen: make(map[string]bool)}
	for code := range strings.FieldsSeq(`E_BAD_PROTOCOL E_INVALID E_BAD_TOPIC E_BAD_CHANNEL E_BAD_BODY E_BAD_MESSAGE
		E_IDENTIFY_FAILED E_SUB_FAILED E_PUB_FAILED E_MPUB_FAILED E_DPUB_FAILED E_FIN_FAILED E_REQ_FAILED E_TOUCH_FAILED
		E_AUTH_DISABLED E_AUTH_FAILED E_AUTH_FIRST E_UNAUTHORIZED`) {
		c.unseen[code] = true
	}
	return c
}

func (c *codes) remove(transcript string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, match := range regexp.MustCompile(`error (E_[A-Z_]+)`).FindAllStringSubmatch(transcript, -1) {
		delete(c.unseen, match[1])
	}
}

func (c *codes) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sorted(c.unseen)
}

// compare plays steps with both nsqds, and checks that the transcripts are the same, or
// not if an item says that they differ. It returns nsqd's.
func compare(t *testing.T, c config, steps source, differs string) string {
	t.Helper()
	wait := patience
	if differs != "" {
		wait = time.Second / 2
	}
	expected := playFake(t, c, steps)
	theirs, ours := transcript(playReal(t, c, expected, wait)), transcript(expected)
	switch same := theirs == ours; {
	case same && differs != "":
		t.Errorf("the transcripts are the same, in spite of %q:\n%s", differs, ours)
	case !same && differs == "":
		t.Errorf("fake:\n%s\nreal:\n%s", ours, theirs)
	}
	return theirs
}

// differences returns the items of a list of differences in nsqtest's documentation, with
// false.
func differences(t *testing.T, daemon string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../nsqtest/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "// # Differences from "+daemon+"\n")
	if !found {
		t.Fatal("nsqtest/doc.go has no section on differences")
	}
	section, _, _ = strings.Cut(section, "// # ")
	items := make(map[string]bool)
	for _, item := range regexp.MustCompile(`(?m)^//   - ([^:]+): `).FindAllStringSubmatch(section, -1) {
		items[strings.ReplaceAll(item[1], "\n//     ", " ")] = false
	}
	return items
}
