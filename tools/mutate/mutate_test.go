package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

const subject = "testdata/subject"

// Each mutant of the subject, and what becomes of it.
var fates = map[string]fate{
	"10: `n < 0` -> `true || (n < 0)`":   killed,
	"10: `n < 0` -> `false && (n < 0)`":  killed,
	"10: `n < 0` -> `n <= 0`":            survived, // no test sums nothing
	"10: `0` -> `1`":                     survived, // the same
	"11: `0` -> `1`":                     killed,
	"11: `errNegative` -> `*new(error)`": killed,
	"13: `0` -> `1`":                     survived, // a zero adds nothing
	"13: `8` -> `9`":                     survived, // the size of a buffer
	"14: `1` -> `2`":                     killed,
	"14: `i <= n` -> `i < n`":            killed,
	"15: `buffer = append(buffer, i)` -> `if false { buffer = append(buffer, i) }`": killed,
	"17: `0` -> `1`": killed,
	"19: `sum += i` -> `if false { sum += i }`":                   killed,
	"21: `sum` -> `*new(int)`":                                    killed,
	"21: `nil` -> `mutantError{}`":                                killed,
	"26: `defer close(stop)` -> `if false { defer close(stop) }`": survived,
	"27: `!<-stop` -> `!(!<-stop)`":                               survived,
	"27: `!<-stop` -> `<-stop`":                                   survived,
	"14: `i++` -> `i--`":                                          killed, // it never ends
}

func TestFates(t *testing.T) {
	mutants, err := inPackage(subject)
	if err != nil {
		t.Fatal(err)
	}
	names := [...]string{"killed", "survived", "not built", "undecided"}
	seen := make(map[string]bool)
	for _, m := range mutants {
		name := strings.TrimPrefix(m.String(), subject+"/subject.go:")
		want, ok := fates[name]
		if !ok || seen[name] {
			t.Errorf("unexpected mutant %s", name)
			continue
		}
		seen[name] = true
		limit := time.Minute
		if strings.Contains(name, "i--") {
			limit = time.Second
		}
		if got, err := m.try(t.Context(), limit); got != want || err != nil {
			t.Errorf("%s: %s, want %s (error %v)", name, names[got], names[want], err)
		}
	}
	if len(seen) != len(fates) {
		t.Errorf("%d mutants, want %d", len(seen), len(fates))
	}
}

func TestNotBuilt(t *testing.T) {
	m := mutant{dir: subject, file: "subject.go", text: "no Go"}
	if got, err := m.try(t.Context(), time.Minute); got != notBuilt || err != nil {
		t.Error(got, err)
	}
}

// The report of a whole run: the survivors, each once, and the score.
func TestReport(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"-n", "100", "-at", "subject.go:(10|13|26)", subject}, &out)
	if err != nil {
		t.Fatal(err)
	}
	want := 0 // survivors
	for name, fate := range fates {
		line := "survived  " + subject + "/subject.go:" + name + "\n"
		asked := strings.HasPrefix(name, "10:") || strings.HasPrefix(name, "13:") || strings.HasPrefix(name, "26:")
		if asked && fate == survived {
			want++
			if strings.Count(out.String(), line) != 1 {
				t.Errorf("no line %q", line)
			}
		}
	}
	if strings.Count(out.String(), "survived  ") != want {
		t.Errorf("not %d survivors", want)
	}
	if !strings.Contains(out.String(), "score     2 of 7 mutants killed, 28.6 %; 0 more did not build; seed ") {
		t.Error("not the score that was expected")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestNumber(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-n", "2", "-seed", "7", "-at", ":10:?", subject}, &out); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, " of 2 mutants killed") || !strings.Contains(s, "; seed 7, ") {
		t.Error(s)
	}
}

// The time is for the mutants: that the tests without a change take longer is no failure.
func TestTimeIsForMutants(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-for", "1ns", subject}, &out); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "time ran out before 50 were tried") {
		t.Error(s)
	}
}

// The same seed draws the same mutants, another seed others.
func TestSeed(t *testing.T) {
	order := func(seed uint64) string {
		mutants, err := draw([]string{subject, "."}, options{seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(mutants)
	}
	first := order(1)
	if order(1) != first {
		t.Error("one seed, two orders")
	}
	if order(2) == first {
		t.Error("two seeds, one order")
	}
}

// When its time is over, the survey reports what it has, and says so.
func TestTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mutants, err := inPackage(subject)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s := &survey{options: options{n: 3}, w: &out, begin: time.Now()}
	if err := s.try(ctx, mutants); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "time ran out before 3 were tried") {
		t.Error(out.String())
	}
}

// Without these errors a survey of nothing would have a perfect score.
func TestRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"":                       "name the directories",
		"testdata":               "no code to change in testdata",
		"-at nothing " + subject: "no mutant matches",
		"testdata/fails":         "the tests must pass without a change",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", args, err, want)
		}
	}
}
