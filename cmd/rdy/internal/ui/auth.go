package ui

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Users are those that may see the page, with bcrypt hashes of their passwords.
type Users struct {
	hashes map[string][]byte

	// A hash takes 50 ms or more to compare, and a browser sends the password with each
	// request.
	mu    sync.Mutex
	known map[[sha256.Size]byte]bool // SHA-256 of names and passwords that fit
}

// ReadUsers reads lines with a name, a colon and a bcrypt hash, as "htpasswd -B" writes them.
// Empty lines and those that begin with # are left out. An error names the line.
func ReadUsers(r io.Reader) (*Users, error) {
	u := &Users{hashes: make(map[string][]byte), known: make(map[[sha256.Size]byte]bool)}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		if _, err := bcrypt.Cost([]byte(hash)); name == "" || err != nil {
			return nil, fmt.Errorf("line %d: want a name, a colon and a bcrypt hash", n)
		}
		if u.hashes[name] != nil {
			return nil, fmt.Errorf("line %d: duplicate name %s", n, name)
		}
		u.hashes[name] = []byte(hash)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(u.hashes) == 0 {
		return nil, errors.New("no users in the file")
	}
	return u, nil
}

// fits reports whether a user has a password.
func (u *Users) fits(name, password string) bool {
	sum := sha256.Sum256([]byte(name + "\x00" + password))
	u.mu.Lock()
	known := u.known[sum]
	u.mu.Unlock()
	hash := u.hashes[name]
	if known || hash == nil {
		return known
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return false
	}
	u.mu.Lock()
	u.known[sum] = true // at most one for each user
	u.mu.Unlock()
	return true
}

type userKey struct{}

// userOf returns the name of the viewer, empty if it is not known.
func userOf(r *http.Request) string {
	name, _ := r.Context().Value(userKey{}).(string)
	return name
}

// identify returns a handler that asks for a password if there are Users, and notes the name of
// the viewer.
func (s *Server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if s.Users != nil {
			user, password, ok := r.BasicAuth()
			if !ok || !s.Users.fits(user, password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="rdy ui", charset="UTF-8"`)
				http.Error(w, "want a name and a password", http.StatusUnauthorized)
				return
			}
			name = user
		}
		if s.TrustHeader != "" && fromLoopback(r) && r.Header.Get(s.TrustHeader) != "" {
			name = r.Header.Get(s.TrustHeader)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, name)))
	})
}

// fromLoopback reports whether a request comes from this machine, such as from a proxy.
func fromLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
