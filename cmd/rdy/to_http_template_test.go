package main

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
)

// messageOf returns a message that no consumer has received.
func messageOf(body string) *nsq.Message {
	m := nsq.NewMessage(nsq.MessageID([]byte("0123456789abcdef")), []byte(body))
	m.Timestamp = time.Date(2026, 11, 30, 1, 2, 3, 4, time.UTC).UnixNano()
	m.Attempts = 7
	return m
}

func TestURLTemplate(t *testing.T) {
	for _, tc := range []struct{ template, body, want, name string }{
		{"http://h/p?q=1", "b", "http://h/p?q=1", "http://h/p"},
		{"https://h:8443", "b", "https://h:8443", "https://h:8443"},
		{"http://h?d={{.Body}}", "b", "http://h?d=b", "http://h"},
		{"http://user:secret@h/p?key=secret", "b", "http://user:secret@h/p?key=secret", "http://h/p"},
		{"http://h/{{.ID}}/{{ .Attempts }}", "b", "http://h/0123456789abcdef/7", "http://h/{{.ID}}/{{ .Attempts }}"},
		{"http://h/?t={{.Timestamp}}", "b", "http://h/?t=2026-11-30T01%3A02%3A03.000000004Z", "http://h/"},
		{"http://h/{{.Body}}", "a/b?c#d e%\xff", "http://h/a%2Fb%3Fc%23d%20e%25%FF", "http://h/{{.Body}}"},
		{"http://h/x?d={{.Body}}&e=1", "a/b?c&d=e f+%\n", "http://h/x?d=a%2Fb%3Fc%26d%3De+f%2B%25%0A&e=1", "http://h/x"},
		{"http://h/{{.Body}}?d={{.Body}}", "a b", "http://h/a%20b?d=a+b", "http://h/{{.Body}}"},
	} {
		u, err := parseURL(tc.template)
		if err != nil {
			t.Errorf("%s: %v", tc.template, err)
			continue
		}
		got, err := u.url(valuesOf(messageOf(tc.body)))
		if err != nil || got.String() != tc.want || u.name != tc.name {
			t.Errorf("%s with %q: got %v and name %q, error %v; want %s and %q", tc.template, tc.body, got, u.name, err, tc.want, tc.name)
		}
	}
}

func TestURLTemplateErrors(t *testing.T) {
	for template, want := range map[string]string{
		"":                            "want a URL such as",
		"h/p":                         "want a URL such as",
		"ftp://h/":                    "want a URL such as",
		"http:///p":                   "want a URL such as",
		"http://h/?d=%s":              "{{.Body}}",
		"http://h/#top":               "fragment",
		"http://h/{{.Body":            "{{ without }}",
		"http://h/{{.Bdy}}":           "{{.Bdy}}: want {{.Topic}}",
		"http://h/{{Body}}":           "unknown placeholder",
		"http://h/{{.Body|urlquery}}": "escaped where they have to be",
		"http://{{.Body}}/":           "in the path and the query only",
		"{{.Body}}://h/":              "in the path and the query only",
		"http://h{{.Body}}/":          "in the path and the query only",
		"http://h:{{.Body}}?x":        "in the path and the query only",
		"http://h/../{{.Body}}":       `".." in the path`,
		"http://h:x/":                 "invalid port",
		"http://user:secret@h:x/":     "not a valid URL",
		"http://user:secret/x@h/":     "write / as %2F",
		"http://user:secret?x@h/":     "write / as %2F",
		"http://user:x%zsecret@h/":    "write / as %2F",
	} {
		_, err := parseURL(template)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got error %v, want %s", template, err, want)
		}
	}
}

// A body cannot lead out of the folder of the URL.
func TestURLTemplateStaysInItsFolder(t *testing.T) {
	u, err := parseURL("http://h/a/{{.Body}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{".", "..", "a/../..", `..\..`, "x/."} {
		if got, err := u.url(valuesOf(messageOf(body))); err == nil {
			t.Errorf("body %q: got %v, want an error", body, got)
		}
	}
}

func FuzzURLTemplate(f *testing.F) {
	for _, body := range []string{"b", "..", "../../x", "//h2/", "@h2", "?a#b", "%2e%2e", "\\", "\r\nX: y", "\xff"} {
		f.Add(body)
	}
	u, err := parseURL("http://user@host:80/folder/{{.Body}}/end?first={{.Body}}&last=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		built, err := u.url(valuesOf(messageOf(body)))
		if err != nil {
			if parts := strings.FieldsFunc(body, func(r rune) bool { return strings.ContainsRune(`/\`, r) }); !slices.Contains(parts, ".") && !slices.Contains(parts, "..") {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		got, err := url.Parse(built.String()) // as the request does
		if err != nil {
			t.Fatal(err)
		}
		raw := strings.Split(got.EscapedPath(), "/")
		query := got.Query()
		switch {
		case got.Host != "host:80", got.User.Username() != "user", got.Fragment != "", len(raw) != 4, got.Path != "/folder/"+body+"/end":
			t.Errorf("%q leads to %v", body, got)
		case len(query) != 2, query.Get("first") != body, query.Get("last") != "1":
			t.Errorf("%q becomes the query %q", body, got.RawQuery)
		}
	})
}

func TestHeaderTemplate(t *testing.T) {
	for _, tc := range []struct{ header, name, want string }{
		{"x-a: b", "X-A", "b"},
		{"X-A:b:c", "X-A", "b:c"},
		{"X-Body: <{{.Body}}>", "X-Body", "<a b>"},
		{"host: other", "Host", "other"},
	} {
		h, err := parseHeader(tc.header)
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.render(valuesOf(messageOf("a b")))
		if h.name != tc.name || got != tc.want || err != nil {
			t.Errorf("%q: got %s: %s, error %v", tc.header, h.name, got, err)
		}
	}
	for _, header := range []string{
		"", "secret", ":secret", "A:", "A b: secret", "Ä: secret", "Content-Length: 1", "transfer-encoding: chunked",
		"A: secret {{.No}}", "A: secret\nB: c",
	} {
		if _, err := parseHeader(header); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got error %v, want one without the value", header, err)
		}
	}
	h, err := parseHeader("A: {{.Body}}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.render(valuesOf(messageOf("a\r\nB: c"))); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}
