package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// maxNotFound is how many bytes of a 404 are read to tell nsqlookupd's from others.
const maxNotFound = 1 << 10

var errNoResponse = errors.New("no response yet")

// lookupdWatch notes which nsqlookupds respond. It is the transport of the requests to
// them.
type lookupdWatch struct {
	http.RoundTripper
	recovered func(addr string) // called for a failure that failures returned, when it is over

	mu       sync.Mutex // guards the fields below
	errs     map[string]error
	returned map[string]bool // by failures
}

// newLookupdWatch returns a watch that sends requests as the library does by itself:
// without a proxy, and without keeping connections.
func newLookupdWatch(recovered func(addr string)) *lookupdWatch {
	return &lookupdWatch{
		RoundTripper: &http.Transport{DisableKeepAlives: true},
		recovered:    recovered,
		errs:         make(map[string]error),
		returned:     make(map[string]bool),
	}
}

// RoundTrip sends a request to an nsqlookupd.
func (w *lookupdWatch) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(req)
	failure := err
	if err == nil {
		failure = lookupdFailure(resp)
	}
	addr := req.URL.Host
	w.mu.Lock()
	w.errs[addr] = failure
	over := failure == nil && w.returned[addr]
	if over {
		delete(w.returned, addr)
	}
	w.mu.Unlock()
	if over {
		w.recovered(addr)
	}
	return resp, err
}

// lookupdFailure returns an error unless the response can be nsqlookupd's. When asked for a topic
// that it does not know, nsqlookupd responds with TOPIC_NOT_FOUND.
func lookupdFailure(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	begin, err := io.ReadAll(io.LimitReader(resp.Body, maxNotFound))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), resp.Body), resp.Body}
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusNotFound && bytes.Contains(begin, []byte("TOPIC_NOT_FOUND")) {
		return nil
	}
	return fmt.Errorf("HTTP status %s", resp.Status)
}

// hostPort returns the host and port of an address that httpAddr has returned.
func hostPort(addr string) string {
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		return u.Host
	}
	return addr
}

// failures returns why nsqlookupds do not respond, by address. Those that do are not
// in it.
func (w *lookupdWatch) failures(addrs []string) map[string]error {
	w.mu.Lock()
	defer w.mu.Unlock()
	failures := make(map[string]error)
	for _, addr := range addrs {
		err, asked := w.errs[hostPort(addr)]
		if !asked {
			err = errNoResponse
		}
		if err != nil {
			failures[addr], w.returned[hostPort(addr)] = err, true
		}
	}
	return failures
}
