package simulation

import (
	"cmp"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed of TestShrink and TestStory")
	file  = flag.String("story", "", "the file with the story of TestShrink and TestStory, instead of a seed")
	tries = flag.Int("tries", 4, "how often TestShrink plays a story before it takes it for one that does not fail")
)

// given returns the story that flags name, nil if there is none.
func given(t *testing.T) story {
	if *file == "" {
		if *seed == 0 {
			return nil
		}
		return tell(*seed)
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(string(text))
}

// TestStory plays the story of -seed or -story.
func TestStory(t *testing.T) {
	if s := given(t); s != nil {
		play(t, s)
	}
}

// TestShrink makes the story of -seed or -story shorter, as long as it fails, and prints it. Each
// try is a process of its own, because a story that hangs ends its process.
func TestShrink(t *testing.T) {
	s := given(t)
	if s == nil {
		return
	}
	how := failure(t, s)
	if how == "" {
		t.Fatalf("it does not fail in %d tries", *tries)
	}
	fails := func(s story) bool { return failure(t, s) == how }
	for before := ""; before != s.String(); {
		before = s.String()
		s = fewerLines(s, fails)
		s = fewerOptions(s, fails)
		s = smallerNumbers(s, fails)
	}
	t.Errorf("the story:\n%s", s)
}

// failed is the line of this package that reports a failure, or the beginning of a panic.
var failed = regexp.MustCompile(`\w+_test\.go:\d+: |panic: [\w ]+`)

// failure returns how a story fails in one of a few tries, empty if it does not.
func failure(t *testing.T, s story) string {
	path := filepath.Join(t.TempDir(), "story.txt")
	if err := os.WriteFile(path, []byte(s.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range *tries {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd, err := self(ctx, "-test.run=^TestStory$", "-story="+path)
		if err != nil {
			t.Fatal(err)
		}
		output, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return cmp.Or(string(failed.Find(output)), "it fails")
		}
	}
	return ""
}

// fewerLines leaves out lines, at first many at once. The first line says the seed, and stays.
func fewerLines(s story, fails func(story) bool) story {
	for n := len(s) / 2; n > 0; n /= 2 {
		for i := 1; i < len(s); {
			shorter := slices.Delete(slices.Clone(s), i, min(i+n, len(s)))
			if sound(shorter) && fails(shorter) {
				s = shorter
			} else {
				i += n
			}
		}
	}
	return s
}

// sound reports whether a story has what every story needs.
func sound(s story) bool {
	return len(s.all("nsqd")) > 0 && len(s.all("publisher")) > 0 &&
		!slices.ContainsFunc(s.all("publisher"), func(l line) bool { return l.text("kind") == "discovered" && len(s.all("nsqlookupd")) == 0 })
}

// fewerOptions leaves out options.
func fewerOptions(s story, fails func(story) bool) story {
	for i := range s {
		for k := len(s[i].options) - 1; k >= 0; k-- {
			if key := s[i].options[k].key; slices.Contains([]string{"kind", "mif", "handlers", "timeout"}, key) {
				continue
			}
			fewer := slices.Clone(s)
			fewer[i].options = slices.Delete(slices.Clone(s[i].options), k, k+1)
			if fails(fewer) {
				s = fewer
			}
		}
	}
	return s
}

// smallerNumbers halves numbers.
func smallerNumbers(s story, fails func(story) bool) story {
	for i := range s {
		for k, o := range s[i].options {
			n, err := strconv.Atoi(o.value)
			for err == nil && n > 1 && o.key != "timeout" && o.key != "bytes" { // too small, they change what must happen
				smaller := slices.Clone(s)
				smaller[i].options = slices.Clone(s[i].options)
				smaller[i].options[k].value = strconv.Itoa(n / 2)
				if !fails(smaller) {
					break
				}
				s, n = smaller, n/2
			}
		}
	}
	return s
}
