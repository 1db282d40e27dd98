package discover

import (
	"errors"
	"net/url"
	"strings"
)

const hidden = "xxxxx"

// redact returns a URL as errors and logs may show it: without the password, without a
// user that has no password, which may be a token, and without the query.
func redact(u *url.URL) string {
	shown := *u
	if u.User != nil {
		if _, ok := u.User.Password(); ok {
			shown.User = url.UserPassword(u.User.Username(), hidden)
		} else {
			shown.User = url.User(hidden)
		}
	}
	if u.RawQuery != "" {
		shown.RawQuery = hidden
	}
	return shown.String()
}

var errMalformed = errors.New("malformed URL")

// redactText is redact for an address that does not parse as a URL. It can only guess
// where the password ends and the query begins, so it hides more. secrets reports whether
// it hid anything: then the error must not quote the address either.
func redactText(addr string) (shown string, secrets bool) {
	scheme, rest := "", addr
	if i := strings.Index(addr, "://"); i >= 0 {
		scheme, rest = addr[:i+3], addr[i+3:]
	}
	user := ""
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		user, rest, secrets = hidden+"@", rest[i+1:], true
	}
	if before, _, found := strings.Cut(rest, "?"); found {
		rest, secrets = before+"?"+hidden, true
	}
	return scheme + user + rest, secrets
}

// withoutURL removes the URL from an error of a request: it may hold a password or a
// token.
func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}
