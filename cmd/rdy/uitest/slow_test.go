//go:build linux

package uitest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A page comes alive whichever of its scripts comes last.
//
// When htmx begins, its extension for streams must be there, or it never connects the stream of
// the page. What listens to the stream must be there as well: the next event may be a minute away.
func TestSlowScripts(t *testing.T) {
	n := startNSQD(t)
	n.create("orders", "billing")
	site := serve(t, []*nsqd{n}, "--interval", "1m")
	to, err := url.Parse(site.url)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t)
	for _, slow := range []string{"htmx", "hx-sse", "charts", "app"} {
		proxy := httputil.NewSingleHostReverseProxy(to)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/"+slow+".") {
				pause(300 * time.Millisecond)
			}
			proxy.ServeHTTP(w, r)
		}))
		b.load(server.URL)
		b.do(chromedp.Navigate("about:blank")) // so that the server can end
		server.Close()
	}
}
