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
	hashes  map[string][]byte
	unknown []byte // is compared for a name that is not there: the time must not tell which names are
	compare func(hash, password []byte) error

	// comparing has room for one: who guesses passwords keeps one core busy, and others in line,
	// but not those whose password is known.
	comparing chan struct{}

	// A hash takes 50 ms or more to compare, and a browser sends the password with each
	// request.
	mu    sync.Mutex
	known map[string][sha256.Size]byte // SHA-256 of the password that has fitted last, by name
}

// ReadUsers reads lines with a name, a colon and a bcrypt hash, as "htpasswd -B" writes them.
// Empty lines and those that begin with # are left out. An error names the line.
func ReadUsers(r io.Reader) (*Users, error) {
	u := &Users{
		hashes: make(map[string][]byte), compare: bcrypt.CompareHashAndPassword, comparing: make(chan struct{}, 1),
		known: make(map[string][sha256.Size]byte),
	}
	most := 0
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		if name == "" || err != nil {
			return nil, fmt.Errorf("line %d: want a name, a colon and a bcrypt hash", n)
		}
		if u.hashes[name] != nil {
			return nil, fmt.Errorf("line %d: duplicate name %s", n, name)
		}
		u.hashes[name] = []byte(hash)
		if cost > most {
			most, u.unknown = cost, []byte(hash)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(u.hashes) == 0 {
		return nil, errors.New("no users in the file")
	}
	return u, nil
}

// fits reports whether a user has a password. It does not if ctx ends before that is known.
func (u *Users) fits(ctx context.Context, name, password string) bool {
	sum := sha256.Sum256([]byte(password))
	if u.knows(name, sum) {
		return true
	}
	select {
	case u.comparing <- struct{}{}:
		defer func() { <-u.comparing }()
	case <-ctx.Done():
		return false
	}
	if u.knows(name, sum) { // a browser sends several requests at once
		return true
	}
	hash, ok := u.hashes[name]
	if !ok {
		hash = u.unknown
	}
	if u.compare(hash, []byte(password)) != nil || !ok {
		return false
	}
	u.mu.Lock()
	u.known[name] = sum
	u.mu.Unlock()
	return true
}

func (u *Users) knows(name string, sum [sha256.Size]byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	known, ok := u.known[name]
	return ok && known == sum
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
			if !ok || !s.Users.fits(r.Context(), user, password) {
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
