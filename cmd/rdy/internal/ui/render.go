package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"

	"github.com/rdyhq/nsq/cmd/rdy/internal/judge"
)

//go:embed static pages
var files embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"live": live,
	"mark": func(l judge.Level) string { return marks[l] },
	"link": func(topic, channel string) string { return channelLink(judge.Name{Topic: topic, Channel: channel}) },
}).ParseFS(files, "pages/*.html"))

// live writes a cell: a part of the page that the stream of the screen may change.
func live(c cell) template.HTML {
	return template.HTML(fmt.Sprintf(`<span id="%s">%s</span>`, template.HTMLEscapeString(c.ID), c.HTML)) // #nosec G203 -- the id is escaped, the HTML is
}

// staticFiles serves the styles and scripts. Their addresses hold for one build.
func staticFiles() http.Handler {
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err)
	}
	serve := http.StripPrefix("/static/", http.FileServerFS(static))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		serve.ServeHTTP(w, r)
	})
}

// frame is what every page gets.
type frame struct {
	Title    string
	Section  string // overview, nodes, lookup, dead, tail or log
	Cluster  string
	Theme    string // light or dark; empty: the system's
	ReadOnly bool
	Screen   string // id of the screen; empty if nothing on the page changes
	Live     cell
	NeedYou  int
	Body     any
}

// page sends a page with a screen of its own.
func (s *Server) page(w http.ResponseWriter, r *http.Request, st *state, p page, name, title string, body any) {
	s.send(w, r, http.StatusOK, name, s.frame(r, st, s.screens.open(p, st).id, title, body))
}

func (s *Server) frame(r *http.Request, st *state, screen, title string, body any) *frame {
	f := &frame{Title: title, Section: section(r.URL.Path), Cluster: s.Name, ReadOnly: !s.AllowActions, Screen: screen, Body: body}
	if cookie, err := r.Cookie("theme"); err == nil && (cookie.Value == "dark" || cookie.Value == "light") {
		f.Theme = cookie.Value
	}
	if st.report != nil {
		f.NeedYou = st.report.Cluster.ChannelsNeedYou + st.report.Cluster.DaemonsNeedYou
		f.Live = text("live-text", "Static, from "+st.report.At.Local().Format("15:04:05"))
	}
	return f
}

// section returns which link of the bar a path belongs to.
func section(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "", "topics":
		return "overview"
	}
	return first
}

// send sends a whole page.
func (s *Server) send(w http.ResponseWriter, r *http.Request, status int, name string, f *frame) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name+".html", f); err != nil {
		http.Error(w, "this page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser may be gone
}

// render sends a part of a page.
func (s *Server) render(w http.ResponseWriter, _ *http.Request, name string, data any) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "this cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// fail sends a page with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, what string) {
	st, _ := s.poller.current()
	s.send(w, r, status, "error", s.frame(r, st, "", http.StatusText(status), what))
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
func command(flags []string, args ...string) string {
	words := append([]string{"rdy"}, args...)
	for i, word := range words {
		words[i] = quoted(word)
	}
	return strings.Join(append(words, flags...), " ")
}

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
	return cell{id, template.HTML(b.String())} // #nosec G203 -- the template has escaped it
}
