package admin

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

var errInvalidAddr = errors.New("invalid address: want host:port, or a URL with http or https and without a query")

// baseURL returns the URL of a daemon's HTTP API. Without a scheme an address needs a port.
func baseURL(addr string) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, errInvalidAddr
		}
		addr = (&url.URL{Scheme: "http", Host: addr}).String() // escapes the zone of an IPv6 address
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" {
		return nil, errInvalidAddr // err would repeat a password
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

// shown returns an address as Views and errors name it: without user, password and query, each
// of which may be a secret.
func shown(addr string) string {
	if before, query, _ := strings.Cut(addr, "?"); query != "" {
		addr = before
	}
	last := strings.LastIndex(addr, "@")
	if last < 0 {
		return addr
	}
	scheme, _, isURL := strings.Cut(addr, "://")
	if !isURL {
		return addr[last+1:]
	}
	u, err := url.Parse(addr)
	switch {
	case err != nil: // perhaps a password with a slash
		return scheme + "://" + addr[last+1:]
	case u.User == nil: // an @ in the path
		return addr
	}
	u.User = nil
	return u.String()
}

// withPassword returns the address that a View or an error shows as addr.
func (c *Cluster) withPassword(addr string) string {
	for _, addrs := range [][]string{c.NSQDs, c.Lookupds} {
		for _, full := range addrs {
			if shown(full) == addr {
				return full
			}
		}
	}
	return addr
}

// withoutURL removes the method and the URL from an error of package net/http: the URL may hold
// a password.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
