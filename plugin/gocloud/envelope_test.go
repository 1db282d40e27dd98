package nsqpubsub

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/rdyhq/nsq/envelope"
)

func TestSealRoundTrip(t *testing.T) {
	for name, tt := range map[string]struct {
		metadata map[string]string
		body     string
	}{
		"a plain body":       {nil, "a pen"},
		"nothing":            {nil, ""},
		"empty metadata":     {map[string]string{}, "a pen"},
		"an envelope":        {nil, "NSQ-Envelope: 1\na: 1\n\na pen"},
		"half an envelope":   {nil, "NSQ-Envelope: 1\na: 1\n"},
		"metadata":           {map[string]string{"customer": "ada", "empty": ""}, "a pen"},
		"metadata, no body":  {map[string]string{"customer": "ada"}, ""},
		"capital letters":    {map[string]string{"Content-Type": "a/b", "UPPER CASE": "X", "lower": "x"}, "a pen"},
		"control characters": {map[string]string{"a\nB: c\x00": "1\r\n\r\n2", " ": " "}, "a pen"},
		"other alphabets":    {map[string]string{"Grüße": "Ünïcode", "ÄÖÜ": "äöü"}, "a pen"},
	} {
		data, err := seal(tt.metadata, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		metadata, body := open(data)
		if string(body) != tt.body || !maps.Equal(metadata, tt.metadata) || len(metadata) == 0 && metadata != nil {
			t.Errorf("%s: %q became %q, %q", name, data, metadata, body)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	for name, metadata := range map[string]map[string]string{
		"an empty key":                    {"": "x"},
		"keys that differ in case only":   {"Key": "1", "kEy": "2"},
		"a key and the same in lower":     {"Key": "1", "key": "2"},
		"the reserved key":                {namesHeader: "x"},
		"the reserved key, another case":  {strings.ToUpper(namesHeader): "x"},
		"more than an envelope may carry": {"key": strings.Repeat("x", envelope.MaxHeaderLen)},
	} {
		if data, err := seal(metadata, []byte("a pen")); !errors.Is(err, errInvalidMetadata) {
			t.Errorf("%s: sealed %.100q, error %v", name, data, err)
		}
	}
}

// Equal messages make equal bodies, which deduplication may rely on.
func TestSealIsStable(t *testing.T) {
	metadata := map[string]string{"A": "1", "B": "2", "C": "3", "D": "4", "e": "5"}
	want, err := seal(metadata, []byte("a pen"))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := seal(metadata, []byte("a pen")); err != nil || string(got) != string(want) {
			t.Fatalf("sealed %q, then %q, error %v", want, got, err)
		}
	}
}

func FuzzSeal(f *testing.F) {
	f.Add("Content-Type", "a/b", "key", "value", []byte("a pen"))
	f.Add("a b", "\r\n\x00\xff", "A+%20B", `"`, []byte(""))
	f.Add("x", "", "_gocloud_Names", "x", []byte("NSQ-Envelope: 1\na: 1\n\nx"))
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string, body []byte) {
		metadata := map[string]string{key1: value1, key2: value2}
		data, err := seal(metadata, body)
		if err != nil {
			if !errors.Is(err, errInvalidMetadata) {
				t.Fatal(err)
			}
			return
		}
		if got, gotBody := open(data); !maps.Equal(got, metadata) || string(gotBody) != string(body) {
			t.Errorf("%q, %q became %q, %q", metadata, body, got, gotBody)
		}
	})
}

// No body that arrives makes open fail, and what it returns can be sealed unless it is too
// long.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("a pen"))
	f.Add([]byte("NSQ-Envelope: 1\n\n"))
	f.Add([]byte("NSQ-Envelope: 1\n_gocloud_names: A %zz A+B _gocloud_names\na: 1\n\nbody"))
	f.Fuzz(func(t *testing.T, data []byte) {
		metadata, body := open(data)
		sealed, err := seal(metadata, body)
		if err != nil {
			return
		}
		if got, gotBody := open(sealed); !maps.Equal(got, metadata) || string(gotBody) != string(body) {
			t.Errorf("%q, %q became %q, %q", metadata, body, got, gotBody)
		}
	})
}
