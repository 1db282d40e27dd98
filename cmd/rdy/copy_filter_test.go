package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCopyFilter(t *testing.T) {
	for _, tc := range []struct {
		jq, body string
		want     []string
		fails    string // part of the error
	}{
		{".", `{"b":1, "a":[1.0, 12345678901234567890]}`, []string{`{"b":1, "a":[1.0, 12345678901234567890]}`}, ""}, // byte for byte
		{`select(.a > 1)`, `{ "a": 2 }`, []string{`{ "a": 2 }`}, ""},
		{`select(.a > 1)`, `{ "a": 1 }`, nil, ""},
		{`., .`, `[ 1 ]`, []string{`[ 1 ]`, `[ 1 ]`}, ""},
		{`{a, n}`, `{"a":"<x>","n":12345678901234567890,"c":1}`, []string{`{"a":"<x>","n":12345678901234567890}`}, ""},
		{`.a = 2`, `{"a":1}`, []string{`{"a":2}`}, ""},
		{`.[]`, `[1,"x",null,{"y":true}]`, []string{`1`, `"x"`, `null`, `{"y":true}`}, ""},
		{`.[1:]`, `[1,2]`, []string{`[2]`}, ""},
		{`.`, `"text"`, []string{`"text"`}, ""},
		{`select(length > 1)`, ` "caf\u00e9 <" `, []string{` "caf\u00e9 <" `}, ""},
		{`select(. > 0)`, `1.50`, []string{`1.50`}, ""},
		{`.`, ` null`, []string{` null`}, ""},
		{`empty`, `1`, nil, ""},
		{`halt`, `1`, nil, ""},
		{`1, halt, 2`, `1`, []string{`1`}, ""},
		// The flags of nsq_to_nsq:
		{`select(has("id"))`, `{"id":null}`, []string{`{"id":null}`}, ""},
		{`select(has("id"))`, `{"x":1}`, nil, ""},
		{`select(.type == "order")`, `{"type":"order"}`, []string{`{"type":"order"}`}, ""},
		{`with_entries(select(.key == ("id", "total")))`, `{"total":null,"id":12345678901234567890,"secret":"s"}`, []string{`{"id":12345678901234567890,"total":null}`}, ""},
		{`if has("id") then select(.id == 7) else error("no id") end`, `{"x":1}`, nil, "no id"},

		{`.`, `no JSON`, nil, "not JSON"},
		{`.`, ``, nil, "not JSON"},
		{`.`, `{} {}`, nil, "more after the first value"},
		{`.`, `{"a":1}]`, nil, "more after the first value"},
		{`.a`, `[1]`, nil, "--jq: "},
		{`1, error("no")`, `1`, nil, "--jq: "},
		{`halt_error`, `"x"`, nil, "--jq: "},
		{`range(20000)`, `1`, nil, "at most 10000"},
		{`"x" * 5000000`, `1`, nil, "4194304 are allowed"},
	} {
		var f copyFilter
		if err := f.Set(tc.jq); err != nil {
			t.Fatal(err)
		}
		before := [][]byte{[]byte("before")}
		got, err := f.apply(t.Context(), before, []byte(tc.body))
		var texts []string
		for _, b := range got[1:] {
			texts = append(texts, string(b))
		}
		if !slices.Equal(texts, tc.want) || (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
			t.Errorf("%s of %s: got %q and error %v, want %q and %q", tc.jq, tc.body, texts, err, tc.want, tc.fails)
		}
	}
}

// An expression without end ends with the context.
func TestCopyFilterWithoutEnd(t *testing.T) {
	var f copyFilter
	if err := f.Set("def f: f; f"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.apply(ctx, nil, []byte("1")); err == nil {
		t.Error("no error")
	}
}

func FuzzCopyFilter(f *testing.F) {
	for _, body := range []string{`{"a":[1,2]}`, `[]`, `1e999`, `"\ud800"`, `{"a":1,"a":2}`, `nul`, `-0`} {
		f.Add([]byte(body))
	}
	var filter copyFilter
	if err := filter.Set("."); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := filter.apply(t.Context(), nil, body)
		if err != nil {
			return
		}
		if len(got) != 1 {
			t.Fatalf("%q has %d results", body, len(got))
		}
		if _, err := decodeJSON(got[0]); err != nil {
			t.Errorf("%q became %q: %v", body, got[0], err)
		}
	})
}
