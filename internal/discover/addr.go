package discover

import (
	"errors"
	"net/url"
	"strings"
)

// ParseAddr parses the address of an nsqlookupd: host:port, which stands for
// http, or a URL with the scheme http or https. It keeps a URL's query and sets
// a missing path to /lookup. Two forms of one address give equal URLs. An error
// is an [*Error].
//
// go-nsq requires a port. Here a URL may omit it, because most URLs name an
// nsqlookupd behind a TLS proxy on port 443. An address without a scheme may not: it
// would mean port 80, where nsqlookupd does not listen.
func ParseAddr(addr string) (*url.URL, error) {
	whole, isURL := addr, strings.Contains(addr, "://")
	if !isURL {
		whole = "http://" + addr
	}
	u, err := url.Parse(whole)
	var malformed *url.Error
	switch {
	case errors.As(err, &malformed):
		err = malformed.Err
	case err != nil:
	case u.Scheme != "http" && u.Scheme != "https":
		err = errScheme
	case u.Host == "":
		err = errMissingHost
	case !isURL && u.Port() == "":
		err = errMissingPort
	}
	if err != nil {
		shown, secrets := redactText(addr)
		if secrets && malformed != nil {
			err = errMalformed // the parser's error quotes parts of the address
		}
		return nil, &Error{Lookupd: shown, Err: err}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/lookup"
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// lookupURL returns the URL that lists the nsqds of a topic.
func lookupURL(u *url.URL, topic string) string {
	lookup := *u
	query := u.Query()
	query.Set("topic", topic)
	lookup.RawQuery = query.Encode()
	return lookup.String()
}

// besideLookup returns the URL of another list, such as /nodes instead of /lookup, after
// the same prefix. It keeps any other path: the user chose that on purpose.
func besideLookup(u *url.URL, list string) *url.URL {
	if strings.HasSuffix(u.Path, "/lookup") {
		return u.JoinPath("../" + list)
	}
	return u
}
