package apicheck

import (
	"strings"
	"testing"
)

// deliberate holds the intended differences, each with its reason.
var deliberate = map[string]map[string]string{
	"compat/go-nsq": {"literal ErrIdentify": errIdentify},
	"root": {
		"literal ErrIdentify":       errIdentify,
		"func ReadResponse":         "has the maxMsgSize of go-nsq's HEAD; compat has v1.1.0's signature",
		"func ReadUnpackedResponse": "has the maxMsgSize of go-nsq's HEAD; compat has v1.1.0's signature",
	},
}

const errIdentify = "keeps its cause, for errors.Is and errors.As, in an unexported field; " +
	"a literal has to name Reason, as go vet demands anyway"

func TestAPI(t *testing.T) {
	was := surfaceOf(mustLoad(t, ".", "github.com/nsqio/go-nsq"))
	tests := []struct{ name, dir, path string }{
		{"compat/go-nsq", "../go-nsq", "github.com/nsqio/go-nsq"},
		{"root", "../..", "github.com/rdyhq/nsq"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := surfaceOf(mustLoad(t, tt.dir, tt.path))
			intended := deliberate[tt.name]
			unseen := len(intended)
			for _, d := range compare(was, is) {
				if intended[d.name] == "" {
					t.Error(d)
					continue
				}
				unseen--
				t.Logf("intended: %v\n\tit %s", d, intended[d.name])
			}
			if unseen > 0 {
				t.Errorf("%d of the intended differences no longer exist", unseen)
			}
			t.Logf("go-nsq v1.1.0 has %v; %s has %v", countKinds(was), tt.name, countKinds(is))
		})
	}
}

// countKinds returns how many names of each kind a surface has.
func countKinds(s surface) map[string]int {
	counts := make(map[string]int)
	for name := range s {
		kind, _, _ := strings.Cut(name, " ")
		counts[kind]++
	}
	return counts
}
