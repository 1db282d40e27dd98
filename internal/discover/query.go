package discover

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

const (
	// maxResponse is the largest response body that is read, in bytes: room for
	// some 50,000 nsqds.
	maxResponse = 16 << 20
	// maxHeader is the largest response header that newClient's client reads, in
	// bytes.
	maxHeader = 64 << 10

	accept   = "application/vnd.nsq; version=1.0"
	typeName = "X-NSQ-Content-Type"
	typeV1   = "nsq; version=1.0"
)

// A queryResult is the response of one nsqlookupd, or why there is none.
type queryResult struct {
	from      *lookupd
	producers []Producer
	skipped   []*ProducerError
	topics    []string
	err       error
}

// query asks one nsqlookupd, within the Timeout.
func (p *Poller) query(ctx context.Context, l *lookupd) queryResult {
	if p.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.cfg.Timeout)
		defer cancel()
	}
	res := queryResult{from: l}
	status, v1, body, err := p.get(ctx, l.request)
	if err != nil {
		res.err = withoutURL(err)
		return res
	}
	if p.cfg.Topics {
		res.topics, res.err = parseTopics(status, v1, body)
	} else {
		res.producers, res.skipped, res.err = parseResponse(status, v1, body)
	}
	return res
}

// get makes the request. v1 reports whether the response declares version 1.0.
func (p *Poller) get(ctx context.Context, url string) (status int, v1 bool, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, false, nil, err
	}
	req.Header.Set("Accept", accept)
	if p.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.cfg.Token)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if p.cfg.Client == nil {
			// When a request is cancelled, its transport continues the dial. This call
			// cancels dials that no request waits for.
			p.client.CloseIdleConnections()
		}
		return 0, false, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err == nil && len(body) > maxResponse {
		err = ErrTooLarge
	}
	return resp.StatusCode, resp.Header.Get(typeName) == typeV1, body, err
}

// newClient returns the client of a Poller whose Config has none. It keeps no
// connections: polls are far apart, each should resolve the name again, and no
// goroutine may outlive its request. The request's context is the only time limit it
// needs. As in go-nsq, it uses no proxy.
func newClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: checkRedirect,
	}
}

// checkRedirect follows redirects as net/http does, but never from https to http,
// where anyone could read the token.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errRedirects
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errNotTLS
	}
	return nil
}

// keepInTLS returns a copy of client that follows no redirect from https to http.
// All other redirects are up to the client's CheckRedirect, or to net/http's rule if
// it has none.
func keepInTLS(client *http.Client) *http.Client {
	safe, follow := *client, client.CheckRedirect
	safe.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if err := checkRedirect(req, via); err != nil && (follow == nil || errors.Is(err, errNotTLS)) {
			return err
		}
		if follow == nil {
			return nil
		}
		return follow(req, via)
	}
	return &safe
}
