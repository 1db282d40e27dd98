//go:build linux

package uitest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// relay serves what a server does, and counts the requests. It ends with the test: start it before
// the browser, whose streams it waits for.
type relay struct {
	*httptest.Server
	mu   sync.Mutex
	sent []string // paths with queries
	open int      // streams of pages
}

// relayTo returns a relay to an address. It calls before, if that is not nil, before each request.
func relayTo(t *testing.T, to string, before func(*http.Request)) *relay {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r := new(relay)
	proxy := httputil.NewSingleHostReverseProxy(target)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if before != nil {
			before(request)
		}
		live := strings.HasPrefix(request.URL.Path, "/live/")
		r.count(request.URL.RequestURI(), live, 1)
		defer r.count("", live, -1)
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *relay) count(path string, live bool, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if path != "" {
		r.sent = append(r.sent, path)
	}
	if live {
		r.open += by
	}
}

// requests returns how many requests had a path with this beginning.
func (r *relay) requests(path string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sent := range r.sent {
		if strings.HasPrefix(sent, path) {
			n++
		}
	}
	return n
}

// streams returns how many streams are open.
func (r *relay) streams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}
