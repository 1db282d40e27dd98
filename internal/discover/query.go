package discover

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

const (
	// maxAnswer is the size in bytes of the largest answer that is read: room
	// for some 50,000 nsqds.
	maxAnswer = 16 << 20
	maxHeader = 64 << 10

	accept   = "application/vnd.nsq; version=1.0"
	typeName = "X-NSQ-Content-Type"
	typeV1   = "nsq; version=1.0"
)

// An answer is what came of asking one nsqlookupd.
type answer struct {
	from      *lookupd
	producers []Producer
	skipped   []*ProducerError
	err       error
}

// query asks one nsqlookupd.
func (p *Poller) query(ctx context.Context, l *lookupd) answer {
	if p.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.cfg.Timeout)
		defer cancel()
	}
	a := answer{from: l}
	status, v1, body, err := p.get(ctx, l.request)
	if err != nil {
		a.err = err
		return a
	}
	a.producers, a.skipped, a.err = parseAnswer(status, v1, body)
	return a
}

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
			// A transport goes on with a dial whose request was given up, unless it
			// hears that nobody waits for connections.
			p.client.CloseIdleConnections()
		}
		return 0, false, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = ErrTooLarge
	}
	return resp.StatusCode, resp.Header.Get(typeName) == typeV1, body, err
}

// newClient is the client of those who give none. It keeps no connections:
// polls are far apart, each resolves the name anew, and no goroutine outlives
// its request. The request's context bounds everything. As in go-nsq there is
// no proxy.
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

// checkRedirect follows redirects as net/http does, but not out of TLS, where
// the token would be seen.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return errRedirects
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errNotTLS
	}
	return nil
}

// guarded is a client that follows redirects as the one given does, but not out
// of TLS.
func guarded(client *http.Client) *http.Client {
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
