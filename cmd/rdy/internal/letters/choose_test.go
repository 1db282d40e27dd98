package letters

import (
	"strings"
	"testing"
)

// Two nsqds may use the same id. Then nothing is done, unless the nsqd is named.
func TestDeadSameID(t *testing.T) {
	a, b := &Letter{ID: "1", NSQD: "a:1"}, &Letter{ID: "1", NSQD: "b:1"}
	plain, onA := ID{ID: "1"}, ID{ID: "1", NSQD: "a:1"}
	for _, tc := range []struct {
		ids        []ID
		found      map[ID][]*Letter
		nsqds      int
		complete   bool
		want       int // letters, if there is no error
		wantErrors string
	}{
		{[]ID{plain}, map[ID][]*Letter{plain: {a}}, 1, true, 1, ""},
		{[]ID{plain}, map[ID][]*Letter{plain: {a}}, 2, false, 1, ""},
		{[]ID{plain}, map[ID][]*Letter{plain: {a, b}}, 2, false, 0, "id 1 is that of letters on nsqd a:1 and b:1"},
		{[]ID{onA}, map[ID][]*Letter{onA: {a}}, 2, true, 1, ""},
		{[]ID{onA, plain}, map[ID][]*Letter{onA: {a}, plain: {a}}, 2, false, 1, ""},
		{[]ID{onA, plain}, nil, 2, false, 0, "no letter has the ids 1@a:1, 1"},
	} {
		chosen, err := chosenOf(tc.ids, tc.found)
		if len(chosen) != tc.want || (err == nil) != (tc.wantErrors == "") || err != nil && !strings.Contains(err.Error(), tc.wantErrors) {
			t.Errorf("%v: %d letters, error %v", tc.ids, len(chosen), err)
		}
		if complete(tc.ids, tc.found, tc.nsqds)() != tc.complete {
			t.Errorf("%v on %d nsqds: complete is not %v", tc.ids, tc.nsqds, tc.complete)
		}
	}
}
