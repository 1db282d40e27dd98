package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq"
)

// placeholders are the values of a message that URLs and headers may contain.
var placeholders = map[string]func(*nsq.Message) string{
	"Topic":     (*nsq.Message).Topic,
	"ID":        func(m *nsq.Message) string { return string(m.ID[:]) },
	"Attempts":  func(m *nsq.Message) string { return strconv.Itoa(int(m.Attempts)) },
	"Timestamp": func(m *nsq.Message) string { return time.Unix(0, m.Timestamp).UTC().Format(time.RFC3339Nano) },
	bodyName:    func(m *nsq.Message) string { return string(m.Body) },
}

const (
	bodyName         = "Body"
	placeholderNames = "{{.Topic}}, {{.ID}}, {{.Attempts}}, {{.Timestamp}} or {{.Body}}"
)

// textTemplate is a text in which placeholders stand for the values of a message.
type textTemplate []templatePiece

// templatePiece is a text or, if name is set, a placeholder.
type templatePiece struct {
	text, name string
	escape     func(string) string // nil leaves the value as it is
}

func parseTemplate(s string) (textTemplate, error) {
	var t textTemplate
	for {
		text, rest, found := strings.Cut(s, "{{")
		if text != "" {
			t = append(t, templatePiece{text: text})
		}
		if !found {
			return t, nil
		}
		inside, after, closed := strings.Cut(rest, "}}")
		name, dotted := strings.CutPrefix(strings.TrimSpace(inside), ".")
		switch {
		case !closed:
			return nil, errors.New("{{ without }}")
		case !dotted || placeholders[name] == nil:
			return nil, fmt.Errorf("unknown placeholder {{%s}}: want %s, without a function: values are escaped where they have to be", inside, placeholderNames)
		}
		t = append(t, templatePiece{name: name})
		s = after
	}
}

// render returns the text with the values in the place of the placeholders. value returns
// the value for a name.
func (t textTemplate) render(value func(name string) string) string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.name == "":
			b.WriteString(p.text)
		case p.escape != nil:
			b.WriteString(p.escape(value(p.name)))
		default:
			b.WriteString(value(p.name))
		}
	}
	return b.String()
}

// valuesOf returns the values of a message for render.
func valuesOf(m *nsq.Message) func(name string) string {
	return func(name string) string { return placeholders[name](m) }
}

func (t textTemplate) has(name string) bool {
	return slices.ContainsFunc(t, func(p templatePiece) bool { return p.name == name })
}

// urlTemplate is the URL of a server, with placeholders in its path and query.
type urlTemplate struct {
	textTemplate
	name  string   // the URL without user, password and query, which may be secret
	fixed *url.URL // without placeholders: what url returns
}

// parseURL parses a URL. No value of a message can lead a request to another server or out
// of a folder: a value is escaped for the place where it stands.
func parseURL(s string) (*urlTemplate, error) {
	if strings.Contains(s, "%s") {
		return nil, errors.New("%s is not a placeholder: write {{.Body}}, as in 'http://host/put?d={{.Body}}'")
	}
	t, err := parseTemplate(s)
	if err != nil {
		return nil, err
	}
	if len(t) > 1 || len(t) == 1 && t[0].name != "" {
		if _, rest, ok := strings.Cut(t[0].text, "://"); !ok || !strings.ContainsAny(rest, "/?") {
			return nil, errors.New("placeholders may stand in the path and the query only")
		}
	}
	escape := url.PathEscape
	for i, p := range t {
		t[i].escape = escape
		if strings.Contains(p.text, "#") {
			return nil, errors.New("a fragment, from # on, is never sent: write %23 for the character")
		}
		if strings.Contains(p.text, "?") {
			escape = url.QueryEscape
		}
	}
	u := &urlTemplate{textTemplate: t}
	sample, err := u.url(func(string) string { return "x" })
	if err != nil {
		return nil, err
	}
	if sample.Scheme != "http" && sample.Scheme != "https" || sample.Host == "" {
		return nil, errors.New("want a URL such as https://host/path")
	}
	_, rest, _ := strings.Cut(s, "://")
	path := rest[strings.IndexAny(rest+"/", "/?"):]
	path, _, _ = strings.Cut(path, "?")
	u.name = sample.Scheme + "://" + sample.Host + path
	if !slices.ContainsFunc(t, func(p templatePiece) bool { return p.name != "" }) {
		u.fixed = sample
	}
	return u, nil
}

// url returns the URL with the values, to be read only.
func (u *urlTemplate) url(value func(name string) string) (*url.URL, error) {
	if u.fixed != nil {
		return u.fixed, nil
	}
	full, err := url.Parse(u.render(value))
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			if strings.Contains(e.URL, "@") { // the reason may quote a password: one with / or ? in it passes for a port
				return nil, errors.New("not a valid URL; in a user name or password write / as %2F, ? as %3F and % as %25")
			}
			err = e.Err // without the URL
		}
		return nil, err
	}
	full.Host = strings.TrimSuffix(full.Host, ":")                                     // a port that is left out, as net/http.NewRequest does
	for part := range strings.SplitSeq(strings.ReplaceAll(full.Path, `\`, "/"), "/") { // some servers take \ for /
		if part == "." || part == ".." {
			return nil, fmt.Errorf("%q in the path of the URL", part)
		}
	}
	return full, nil
}

// headerTemplate is a header with placeholders in its value.
type headerTemplate struct {
	name  string // in canonical form
	value textTemplate
}

// parseHeader parses a header in the form "Name: value".
func parseHeader(s string) (*headerTemplate, error) {
	name, value, found := strings.Cut(s, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !found || !isHeaderName(name) || value == "" {
		return nil, errors.New("want 'Name: value'")
	}
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Content-Length", "Transfer-Encoding", "Trailer":
		return nil, fmt.Errorf("%s follows from the body and cannot be set", name)
	}
	t, err := parseTemplate(value)
	if err != nil {
		return nil, err
	}
	h := &headerTemplate{name, t}
	_, err = h.render(func(string) string { return "x" })
	return h, err
}

// render returns the header's value. It fails if that would be no valid header.
func (h *headerTemplate) render(value func(name string) string) (string, error) {
	v := h.value.render(value)
	if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == '\x7f' }) {
		return "", fmt.Errorf("control character in the value of header %s", h.name)
	}
	return v, nil
}

// isHeaderName reports whether s is a token of RFC 9110.
func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r|0x20 && r|0x20 <= 'z' && r < 0x80
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// headersFlag is a flag that takes a header and may be repeated. Its errors do not show the
// value, which may be a secret.
type headersFlag []*headerTemplate

func (h *headersFlag) String() string { return "" }
func (h *headersFlag) Type() string   { return "'Name: value'" }

func (h *headersFlag) Set(s string) error {
	parsed, err := parseHeader(s)
	if err == nil {
		*h = append(*h, parsed)
	}
	return err
}
