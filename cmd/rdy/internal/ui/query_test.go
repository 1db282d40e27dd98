package ui

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFits(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "orders/billing", true}, {"bill", "orders/billing", true}, {"orders*ing", "orders/billing", true},
		{"ing*orders", "orders/billing", false}, {"*", "x", true}, {"a*a", "a", false}, {"x", "", false},
	} {
		if got := fits(tc.pattern, tc.text); got != tc.want {
			t.Errorf("%q in %q: got %v", tc.pattern, tc.text, got)
		}
	}
}

// FuzzView checks that the address of a view leads to the same view, whatever it was made of.
func FuzzView(f *testing.F) {
	for _, q := range []string{"", "q=orders*&only=needs&sort=-depth&range=24h&page=3", "view=topics&sort=-published&page=all", "page=-1&sort=--&only=x&range=1h",
		"q=" + strings.Repeat("ä", 200), "q=%ff%00", "view=topics&only=needs&sort=flight"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		v := viewOf(q)
		again, err := url.Parse(v.Link())
		if err != nil {
			t.Fatalf("%q: %v", v.Link(), err)
		}
		w := viewOf(again.Query())
		if v.All {
			v.Page = w.Page // it has no meaning
		}
		if w != v {
			t.Errorf("%+v leads to %+v", v, w)
		}
		if len(v.Filter) > maxFilter || !utf8.ValidString(v.Filter) {
			t.Errorf("filter %q", v.Filter)
		}
	})
}
