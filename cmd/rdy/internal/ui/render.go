package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

//go:embed static pages
var files embed.FS

// build names this build's static files in their addresses, so that browsers keep them.
var build = buildID()

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"live":    live,
	"mark":    func(l judge.Level) string { return marks[l] },
	"short":   shortened,
	"subject": subjectQuery,
	"styles": func() []string {
		return []string{"uplot.css", "tokens.css", "frame.css", "parts.css", "detail.css", "messages.css", "narrow.css"}
	},
	"static": func(name string) string { return "/static/" + build + "/" + name },
}).ParseFS(files, "pages/*.html"))

// live writes a cell: a part of the page that the stream of the screen may change.
func live(c cell) template.HTML {
	return template.HTML(fmt.Sprintf(`<span id="%s">%s</span>`, template.HTMLEscapeString(c.ID), c.HTML)) // #nosec G203 -- the id is escaped, the HTML is
}

func buildID() string {
	h := sha256.New()
	err := fs.WalkDir(files, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		h.Write(content)
		return err
	})
	if err != nil {
		panic(err) // the files are part of this program
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// staticFiles serves the styles and scripts.
func staticFiles() http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err)
	}
	serve := http.StripPrefix("/static/"+build+"/", http.FileServerFS(static))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/static/"+build+"/")
		if info, err := fs.Stat(static, name); err != nil || info.IsDir() { // perhaps of another build
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		serve.ServeHTTP(w, r)
	})
}

// frame is what every page gets.
type frame struct {
	Title    string
	Section  string // overview, nodes, lookup, dead or log
	Cluster  string
	Theme    string // light or dark; empty: the system's
	ReadOnly bool
	Screen   string // id of the screen; empty if nothing on the page changes
	At       string // time of the poll, empty before the first
	NeedYou  int
	Dead     int64 // letters
	Icon     string
	Body     any
}

// page sends a page with a screen of its own.
func (s *Server) page(w http.ResponseWriter, r *http.Request, st *state, p page, name, title string, body any) {
	s.send(w, http.StatusOK, name, s.frame(r, st, s.screens.open(p, st, p.cells(st)).id, title, body))
}

func (s *Server) frame(r *http.Request, st *state, screen, title string, body any) *frame {
	f := &frame{Title: title, Section: section(r.URL.Path), Cluster: s.Name, ReadOnly: !s.AllowActions, Screen: screen, Body: body}
	if cookie, err := r.Cookie("theme"); err == nil && (cookie.Value == "dark" || cookie.Value == "light") {
		f.Theme = cookie.Value
	}
	f.Icon = icon(st.report)
	if st.report != nil {
		f.Dead = st.dead
		f.NeedYou, f.At = needing(st.report), st.report.At.Local().Format(time.TimeOnly)
	}
	return f
}

// section returns which link of the bar a path belongs to.
func section(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "", "topics", "tail", "peek":
		return "overview"
	}
	return first
}

// send sends a whole page.
func (s *Server) send(w http.ResponseWriter, status int, name string, f *frame) {
	s.render(w, status, name+".html", f)
}

// render sends a part of a page, or all of it. Whatever daemons and clients call themselves,
// control characters in it are visible, and none reorders what is shown.
func (s *Server) render(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "this cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// A browser that does not read must not hold the page for ever.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // not all writers have one
	_, _ = w.Write(visible.Escape(b.Bytes(), "\n\t"))                                // the browser may be gone
}

// failed sends a page that says why something was not done.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, status int, why string) {
	st, _ := s.poller.current()
	s.send(w, status, "error", s.frame(r, st, "", http.StatusText(status), why))
}

// notFound sends a page that says what is not there.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request, what string) {
	s.failed(w, r, http.StatusNotFound, what)
}

// setTheme keeps the theme in a cookie, so that pages arrive in it.
func setTheme(w http.ResponseWriter, r *http.Request) {
	theme := r.FormValue("theme")
	if theme != "dark" && theme != "light" {
		http.Error(w, "want dark or light", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "theme", Value: theme, Path: "/", MaxAge: 400 * 24 * 3600, SameSite: http.SameSiteStrictMode, HttpOnly: true})
	w.WriteHeader(http.StatusNoContent)
}

// capital returns a word with a capital.
func capital(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

// command returns a command of rdy as one types it.
func command(flags []string, words ...string) string {
	all := figures.Command(words, flags...)
	for i, word := range all {
		all[i] = quoted(word)
	}
	return strings.Join(all, " ")
}

// with returns the flags of a command and those that name the cluster.
func (s *Server) with(flags ...string) []string { return append(flags, s.Flags...) }

// quoted returns a word as a shell takes it. Names of NSQ need no quotes, but for "#" in front.
func quoted(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:=,@") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// part returns a cell that a template makes of data.
func part(id, name string, data any) cell {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return text(id, "this cannot be shown: "+err.Error())
	}
	return cell{ID: id, HTML: template.HTML(b.String())} // #nosec G203 -- the template has escaped it
}

// subjectQuery returns a subject as the query of an address.
func subjectQuery(s judge.Subject, more ...string) string {
	q := url.Values{"kind": {string(s.Kind)}}
	for _, p := range [][2]string{{"topic", s.Topic}, {"channel", s.Channel}, {"addr", s.Addr}} {
		if p[1] != "" {
			q.Set(p[0], p[1])
		}
	}
	for _, length := range more {
		q.Set("for", length)
	}
	return "?" + q.Encode()
}
