package discover

import (
	"errors"
	"net/url"
	"strings"
)

// ParseAddr reads the address of an nsqlookupd: host:port, which is asked by
// http, or a URL with scheme http or https, whose query is kept. Without a path
// it is /lookup. Two forms of one address give equal URLs.
//
// A URL may leave the port to its scheme, unlike in go-nsq: the usual reason to
// write one is an nsqlookupd behind a proxy with TLS, at port 443. The other
// form may not, for port 80 is never what is meant. An error is an [*Error].
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
		return nil, &Error{Lookupd: addr, Err: err}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/lookup"
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// lookupURL is what to get to look up a topic.
func lookupURL(u *url.URL, topic string) string {
	asked := *u
	query := u.Query()
	query.Set("topic", topic)
	asked.RawQuery = query.Encode()
	return asked.String()
}

// nodesURL is what to get to find all nsqds: /nodes instead of /lookup, behind
// whatever prefix. Another path is kept: who gives one knows what is there.
func nodesURL(u *url.URL) *url.URL {
	if strings.HasSuffix(u.Path, "/lookup") {
		return u.JoinPath("../nodes")
	}
	return u
}
