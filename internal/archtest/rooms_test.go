package archtest

import (
	"os"
	"testing"
)

// rooms is the import table. A folder with Go files and no row here is a fault, and so
// is a row without a folder. Tests may import anything.
var rooms = []room{
	{
		dir: ".",
		std: anyStd,
		rooms: []string{
			"internal/wire", "internal/control", "internal/flow", "internal/fleet", "internal/publishing", "internal/link",
			"internal/discover", "internal/sharing", "envelope",
		},
	},
	{
		dir:  "envelope",
		std:  []string{"bytes", "cmp", "context", "maps", "net/url", "slices", "strconv", "strings", "unicode/utf8"},
		pure: true,
	},
	{
		dir: "admin",
		std: []string{
			"bytes", "cmp", "context", "encoding/json", "errors", "fmt", "io", "maps", "net", "net/http", "net/url", "slices", "strconv",
			"strings", "sync", "time",
		},
	},
	{
		dir:  "internal/wire",
		std:  []string{"encoding/*", "errors", "fmt", "strconv"},
		pure: true,
	},
	{
		dir:   "internal/control",
		std:   []string{"cmp", "errors", "fmt", "maps", "slices", "time"},
		rooms: []string{"internal/flow", "internal/fleet"},
		pure:  true,
	},
	{
		dir:  "internal/flow",
		std:  []string{"math", "math/rand/v2", "slices", "time"},
		pure: true,
	},
	{
		dir:  "internal/sharing",
		std:  []string{"math", "slices", "time"},
		pure: true,
	},
	{
		dir:  "internal/fleet",
		std:  []string{"container/heap", "math", "math/rand/v2", "slices", "time"},
		pure: true,
	},
	{
		dir:   "internal/publishing",
		std:   []string{"errors", "fmt", "slices", "strconv", "strings", "time"},
		rooms: []string{"internal/wire"},
		pure:  true,
	},
	{
		dir: "internal/link",
		std: []string{
			"bufio", "bytes", "context", "crypto/tls", "errors", "fmt", "io", "net", "os", "runtime", "slices",
			"strconv", "strings", "sync", "sync/atomic", "syscall", "time",
		},
		rooms: []string{"internal/wire"},
		deps:  []string{"github.com/klauspost/compress/..."},
	},
	{
		dir: "internal/discover",
		std: []string{
			"bytes", "cmp", "context", "encoding/json", "errors", "fmt", "io", "math/rand/v2", "net", "net/http",
			"net/netip", "net/url", "slices", "strconv", "strings", "sync", "time", "unicode",
		},
	},
	{
		dir: "internal/archtest",
	},
	{
		dir: "internal/story", // for tests
		std: []string{"flag", "os", "path/filepath", "strings", "testing", "testing/synctest"},
	},
	{
		dir: "internal/simulation", // tests only
	},
	{
		dir:   "nsqtest",
		std:   anyStd,
		rooms: []string{"internal/wire"},
		deps:  []string{"github.com/klauspost/compress/..."},
	},
	{
		dir:   "nsqtest/hostile",
		std:   anyStd,
		rooms: []string{"nsqtest", "internal/wire"},
		deps:  []string{"github.com/klauspost/compress/..."},
	},
	{
		dir:   "health",
		std:   []string{"encoding/json", "errors", "net/http"},
		rooms: []string{"."},
	},
	{
		dir:   "delay",
		std:   []string{"context", "errors", "fmt", "hash/fnv", "maps", "slices", "strings", "time"},
		rooms: []string{".", "envelope"},
	},
	{
		dir:   "examples/...",
		std:   anyStd,
		rooms: []string{".", "health", "nsqtest"},
	},
}

func TestRooms(t *testing.T) {
	for _, fault := range check(os.DirFS("../.."), rooms) {
		t.Errorf("%s: move the code to a room that may, or pass in what it needs (the table is in rooms_test.go)", fault)
	}
}
