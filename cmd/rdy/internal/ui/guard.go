package ui

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

const maxBody = 64 << 10 // bytes of a request

// policy allows nothing but what this server sends. Styles and scripts are files of their own.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// guard returns a handler that refuses what another site makes a browser send.
func (s *Server) guard(next http.Handler) http.Handler {
	names := append([]string{"localhost"}, s.Hosts...)
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !goesBy(names, r.Host) {
			http.Error(w, "rdy ui does not go by the name in this address: start it with --host and that name", http.StatusMisdirectedRequest)
			return
		}
		if embedded(r) {
			http.Error(w, "this is not for the pages of other sites", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	}))
}

// embedded reports whether another site has a viewer's browser load something for a page of its
// own, such as an image or a frame. It would see nothing, but each page that it asks for costs time
// and memory. Links from other sites are fine.
func embedded(r *http.Request) bool {
	site, what := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Dest")
	return (site == "cross-site" || site == "same-site") && what != "document"
}

// goesBy reports whether the host of a request is an IP address or one of the names. Any other
// name is refused, because its owner may be an attacker:
//
//  1. A viewer opens a page of evil.example.
//  2. evil.example changes its DNS record to the address of this server, such as 127.0.0.1.
//  3. To the browser the page and this server are now one site, so that the page can read all
//     figures and post actions.
//
// In an address without a name there is nothing that could be changed.
func goesBy(names []string, hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil { // there is no port
		host = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}
