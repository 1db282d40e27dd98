package simulation

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

var (
	seeds = flag.Uint64("seeds", 60, "how many seeds TestSeeds plays")
	from  = flag.Uint64("from", 1, "the first seed of TestSeeds")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever goes wrong, no promise is broken.
func TestSeeds(t *testing.T) {
	if *seeds > chunk {
		playInProcesses(t, *from, *seeds)
		return
	}
	for n := *from; n < *from+*seeds; n++ {
		t.Run(strconv.FormatUint(n, 10), func(t *testing.T) { play(t, tell(n)) })
	}
}

// Stories that failed once, or that show what must not be forgotten.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, parse(string(text)))
		})
	}
}

// A story that was printed is read as it was.
func TestParse(t *testing.T) {
	for n := range uint64(100) {
		s := tell(n)
		if again := parse(s.String()); !reflect.DeepEqual(again, s) {
			t.Fatalf("%s\nbecomes\n%s", s, again)
		}
	}
}
