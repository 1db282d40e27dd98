package envelope

import (
	"bufio"
	"bytes"
	"context"
	"maps"
	"net/textproto"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSeal(t *testing.T) {
	for name, tt := range map[string]struct {
		header Header
		body   string
		want   string
	}{
		"names in order":      {Header{"b": "2", "a": "1"}, "body", "NSQ-Envelope: 1\na: 1\nb: 2\n\nbody"},
		"nothing":             {nil, "", "NSQ-Envelope: 1\n\n"},
		"no headers":          {Header{}, "body", "NSQ-Envelope: 1\n\nbody"},
		"no body":             {Header{"a": "1"}, "", "NSQ-Envelope: 1\na: 1\n\n"},
		"an empty value":      {Header{"a": ""}, "body", "NSQ-Envelope: 1\na: \n\nbody"},
		"an empty name":       {Header{"": "1"}, "body", "NSQ-Envelope: 1\n\nbody"},
		"names in upper case": {Header{"Content-Type": "a/b"}, "", "NSQ-Envelope: 1\ncontent-type: a/b\n\n"},
		"names that differ in case only": {Header{"k": "k", "K": "K", "j": "j", "L": "L"}, "",
			"NSQ-Envelope: 1\nj: j\nk: K\nl: L\n\n"},
		"a line break in a value": {Header{"a": "1\nb: 2\r\n\r\n"}, "", `NSQ-Envelope: 1` + "\n" + `a: "1\nb: 2\r\n\r\n"` + "\n\n"},
		"a line break in a name":  {Header{"a: 1\nb": "2"}, "", "NSQ-Envelope: 1\na%3A+1%0Ab: 2\n\n"},
		"an odd space":            {Header{"a": "1\u0085b: 2\u2028", "b": " 1", "c": "1 "}, "", `NSQ-Envelope: 1` + "\n" + `a: "1\u0085b: 2\u2028"` + "\n" + `b: " 1"` + "\n" + `c: "1 "` + "\n\n"},
		"NUL":                     {Header{"a": "\x00"}, "\x00", "NSQ-Envelope: 1\na: \"\\x00\"\n\n\x00"},
		"not UTF-8":               {Header{"a": "\xff"}, "\xff", "NSQ-Envelope: 1\na: \"\\xff\"\n\n\xff"},
		"a quote first":           {Header{"a": `"1"`}, "", `NSQ-Envelope: 1` + "\n" + `a: "\"1\""` + "\n\n"},
		"a quote later":           {Header{"a": `1"%20"`}, "", `NSQ-Envelope: 1` + "\n" + `a: 1"%20"` + "\n\n"},
		"other alphabets":         {Header{"a": "Grüße"}, "Grüße", "NSQ-Envelope: 1\na: Grüße\n\nGrüße"},
		"an envelope":             {Header{"b": "2"}, "NSQ-Envelope: 1\na: 1\n\nbody", "NSQ-Envelope: 1\nb: 2\n\nNSQ-Envelope: 1\na: 1\n\nbody"},
	} {
		if got := string(Seal(tt.header, []byte(tt.body))); got != tt.want {
			t.Errorf("%s: sealed %q, want %q", name, got, tt.want)
		}
	}
}

func TestOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		data   string
		header Header
		body   string
	}{
		"an envelope":            {"NSQ-Envelope: 1\na: 1\nb-c: 2 3\n\nbody", Header{"a": "1", "b-c": "2 3"}, "body"},
		"no header":              {"NSQ-Envelope: 1\n\nbody", Header{}, "body"},
		"no body":                {"NSQ-Envelope: 1\na: 1\n\n", Header{"a": "1"}, ""},
		"nothing":                {"NSQ-Envelope: 1\n\n", Header{}, ""},
		"CRLF":                   {"NSQ-Envelope: 1\r\na: 1\r\n\r\n\r\nbody\r\n", Header{"a": "1"}, "\r\nbody\r\n"},
		"names in any case":      {"NSQ-Envelope: 1\nContent-Type: a/b\n\n", Header{"content-type": "a/b"}, ""},
		"a repeated name":        {"NSQ-Envelope: 1\nA: 1\na: 2\n\n", Header{"a": "1"}, ""},
		"spaces around a value":  {"NSQ-Envelope: 1\na:1\nb:\t 2 \t\n\n", Header{"a": "1", "b": "2"}, ""},
		"an empty value":         {"NSQ-Envelope: 1\na:\n\n", Header{"a": ""}, ""},
		"a literal":              {"NSQ-Envelope: 1\na: \"1\\n\\xff\"\n\n", Header{"a": "1\n\xff"}, ""},
		"a quote that is none":   {"NSQ-Envelope: 1\na: \"1\n\n", Header{"a": `"1`}, ""},
		"other literals":         {"NSQ-Envelope: 1\na: `1`\nb: '2'\n\n", Header{"a": "`1`", "b": "'2'"}, ""},
		"an escaped name":        {"NSQ-Envelope: 1\na%0A+%C3%a9: 1\n\n", Header{"a\n é": "1"}, ""},
		"an escape that is none": {"NSQ-Envelope: 1\n100%: 1\n\n", Header{"100%": "1"}, ""},
		"an envelope inside":     {"NSQ-Envelope: 1\nb: 2\n\nNSQ-Envelope: 1\na: 1\n\nbody", Header{"b": "2"}, "NSQ-Envelope: 1\na: 1\n\nbody"},
		"the longest headers":    {longest(MaxHeaderLen), Header{"a": strings.Repeat("x", MaxHeaderLen-21)}, "body"},
	} {
		h, body, ok := Open([]byte(tt.data))
		if !ok || !maps.Equal(h, tt.header) || h == nil || string(body) != tt.body {
			t.Errorf("%s: opened to %v, %q, %q, want %q, %q", name, ok, h, body, tt.header, tt.body)
		}
	}
}

// longest returns an envelope whose headers take n bytes.
func longest(n int) string {
	return firstLine + "\na: " + strings.Repeat("x", n-len(firstLine)-6) + "\n\nbody"
}

// Anything but a complete, well-formed envelope is a plain body.
func TestOpenPlainBody(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":                       "",
		"JSON":                          `{"a": 1}`,
		"the first line only":           "NSQ-Envelope: 1\n",
		"the first line, cut":           "NSQ-Envelope: 1",
		"a body that begins like one":   "NSQ-Envelope: 1\nis how envelopes begin\n\n",
		"another version":               "NSQ-Envelope: 2\n\n",
		"another version, same prefix":  "NSQ-Envelope: 10\n\n",
		"another case":                  "nsq-envelope: 1\n\n",
		"a space too many":              "NSQ-Envelope: 1 \n\n",
		"something before it":           " NSQ-Envelope: 1\n\n",
		"no empty line":                 "NSQ-Envelope: 1\na: 1\n",
		"no name":                       "NSQ-Envelope: 1\n: 1\n\n",
		"no colon":                      "NSQ-Envelope: 1\na\n\n",
		"a space in a name":             "NSQ-Envelope: 1\na b: 1\n\n",
		"a space after a name":          "NSQ-Envelope: 1\na : 1\n\n",
		"a folded line":                 "NSQ-Envelope: 1\na: 1\n b: 2\n\n",
		"NUL in a name":                 "NSQ-Envelope: 1\na\x00: 1\n\n",
		"NUL in a value":                "NSQ-Envelope: 1\na: 1\x00\n\n",
		"CR in a value":                 "NSQ-Envelope: 1\na: 1\r2\n\n",
		"CR CRLF":                       "NSQ-Envelope: 1\na: 1\r\r\n\n",
		"an empty line of CR":           "NSQ-Envelope: 1\n\r",
		"headers that are too long":     longest(MaxHeaderLen + 1),
		"headers that are far too long": longest(3 * MaxHeaderLen),
	} {
		h, body, ok := Open([]byte(data))
		if ok || h != nil || string(body) != data {
			t.Errorf("%s: opened to %v, %q, %.40q", name, ok, h, body)
		}
	}
}

// The body of an envelope is not copied.
func TestBodyAliasesTheEnvelope(t *testing.T) {
	data := Seal(Header{"a": "1"}, []byte("body"))
	_, body, _ := Open(data)
	body[0] = 'B'
	if got := string(data); !strings.HasSuffix(got, "\n\nBody") {
		t.Errorf("the envelope is %q", got)
	}
	plain := []byte("body")
	if _, body, _ := Open(plain); &body[0] != &plain[0] {
		t.Error("a plain body was copied")
	}
}

// A body that was sealed several times can be opened as many times. Each Open returns what
// was sealed.
func TestSealedTwice(t *testing.T) {
	inner := Seal(Header{"a": "1"}, []byte("body"))
	h, body, ok := Open(Seal(Header{"a": "2"}, inner))
	if !ok || h.Get("a") != "2" || !bytes.Equal(body, inner) {
		t.Errorf("opened to %v, %q, %q", ok, h, body)
	}
}

func TestHeader(t *testing.T) {
	h := Header{}
	h.Set("Content-Type", "a/b")
	h.Set("content-TYPE", "c/d")
	h.Set("\xffÄ", "1")
	h.Set("@AZ[", "2")
	if want := (Header{"content-type": "c/d", "\xffÄ": "1", "@az[": "2"}); !maps.Equal(h, want) {
		t.Errorf("header %q, want %q", h, want)
	}
	if h.Get("CONTENT-type") != "c/d" || h.Get("other") != "" || Header(nil).Get("a") != "" {
		t.Error("Get returned something else than was set")
	}
	if n := testing.AllocsPerRun(100, func() { h.Get("content-type") }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
}

func TestContext(t *testing.T) {
	ctx := context.Background()
	if h, ok := FromContext(ctx); ok || h != nil {
		t.Errorf("header %q in an empty context", h)
	}
	for _, want := range []Header{{"a": "1"}, {"b": "2"}, {}} {
		ctx = NewContext(ctx, want)
		if h, ok := FromContext(ctx); !ok || !maps.Equal(h, want) {
			t.Errorf("header %q, %v, want %q", h, ok, want)
		}
	}
}

func TestPlainBodyAllocatesNothing(t *testing.T) {
	for _, body := range []string{"", `{"a": 1}`, strings.Repeat("x", 1<<20), "NSQ-Envelope: 10\n\n"} {
		data := []byte(body)
		if n := testing.AllocsPerRun(100, func() { Open(data) }); n != 0 {
			t.Errorf("%.20q: %v allocations", body, n)
		}
	}
}

// checkRoundTrip checks that a header and a body come out as they went in, and that a
// reader of MIME headers, which knows nothing of the escapes, finds the same headers.
func checkRoundTrip(t *testing.T, h Header, body []byte) {
	t.Helper()
	data := Seal(h, body)
	got, gotBody, ok := Open(data)
	if len(data)-len(body) > MaxHeaderLen {
		if ok {
			t.Fatal("Open took headers that are too long")
		}
		return
	}
	if !ok || !bytes.Equal(gotBody, body) || !maps.Equal(got, h) {
		t.Fatalf("sealed %q, %q as %q, opened to %v, %q, %q", h, body, data, ok, got, gotBody)
	}
	mime, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(data))).ReadMIMEHeader()
	lines := 0
	for _, values := range mime {
		lines += len(values)
	}
	if err != nil || lines != len(h)+1 {
		t.Fatalf("sealed %q as %q: net/textproto finds %d headers, error %v", h, data, lines, err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("content-type", "application/json", "a", "", []byte("body"))
	f.Add("Name", "a\r\n\r\nforged: 1", "name", "\x00", []byte{})
	f.Add("forged: 1\n", "\u2028\"", "\xff", " \t ", []byte("NSQ-Envelope: 1\n\n"))
	f.Add("%0A", "%0A", "a+b", `"\n"`, []byte("\n"))
	f.Add("nsq-envelope", "2", "NSQ-Envelope: 1\n\n", "\\", []byte{0})
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string, body []byte) {
		h := Header{}
		for _, header := range [][2]string{{name1, value1}, {name2, value2}} {
			if header[0] != "" {
				h.Set(header[0], header[1])
			}
		}
		checkRoundTrip(t, h, body)
	})
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("NSQ-Envelope: 1\na: 1\n\nbody"))
	f.Add([]byte("NSQ-Envelope: 1\r\nA: \"\\n\"\r\na%0a: 2\r\n\r\n"))
	f.Add([]byte("NSQ-Envelope: 1\n: 1\n\n"))
	f.Add([]byte("NSQ-Envelope: 1\na: \"\n100%: %\n\n"))
	f.Add([]byte("NSQ-Envelope: 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, body, ok := Open(data)
		if !ok {
			if h != nil || !bytes.Equal(body, data) {
				t.Fatalf("%q is plain, but opened to %q, %q", data, h, body)
			}
			return
		}
		if !bytes.HasSuffix(data, body) {
			t.Fatalf("the body of %q is %q", data, body)
		}
		checkRoundTrip(t, h, body)
		// What Seal made does not change when it is opened and sealed again.
		sealed := Seal(h, body)
		if h, body, ok := Open(sealed); ok && !bytes.Equal(Seal(h, body), sealed) {
			t.Fatalf("%q became %q", sealed, Seal(h, body))
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 200)
	header := Header{
		"content-type": "application/json",
		"traceparent":  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for name, data := range map[string][]byte{"plain": body, "envelope": Seal(header, body)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Open(data)
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 200)
	header := Header{
		"content-type": "application/json",
		"traceparent":  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	b.ReportAllocs()
	for b.Loop() {
		Seal(header, body)
	}
}
