package apicheck

import (
	"strings"
	"testing"
)

// deliberate are the differences that are meant, each with its reason.
var deliberate = map[string]map[string]string{
	"compat/go-nsq": {"literal ErrIdentify": errIdentify},
	"root": {
		"literal ErrIdentify":       errIdentify,
		"func ReadResponse":         "has go-nsq HEAD's maxMsgSize; compat has v1.1.0's signature",
		"func ReadUnpackedResponse": "has go-nsq HEAD's maxMsgSize; compat has v1.1.0's signature",
	},
}

const errIdentify = "it keeps its cause for errors.Is and errors.As in a hidden field; " +
	"a literal has to name Reason, as go vet asks for"

func TestAPI(t *testing.T) {
	was := surfaceOf(mustLoad(t, ".", "github.com/nsqio/go-nsq"))
	tests := []struct{ name, dir, path string }{
		{"compat/go-nsq", "../go-nsq", "github.com/nsqio/go-nsq"},
		{"root", "../..", "github.com/rdyhq/nsq"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := surfaceOf(mustLoad(t, tt.dir, tt.path))
			meant := deliberate[tt.name]
			unseen := len(meant)
			for _, d := range compare(was, is) {
				if meant[d.name] == "" {
					t.Error(d)
					continue
				}
				unseen--
				t.Logf("meant: %v\n\tfor it %s", d, meant[d.name])
			}
			if unseen > 0 {
				t.Errorf("%d of the differences that are meant are none", unseen)
			}
			t.Logf("go-nsq v1.1.0 has %v; here are %v", count(was), count(is))
		})
	}
}

// count tells how many names of each kind there are.
func count(s surface) map[string]int {
	counts := make(map[string]int)
	for name := range s {
		kind, _, _ := strings.Cut(name, " ")
		counts[kind]++
	}
	return counts
}
