package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody bounds a response. A channel is about 250 bytes, a client 400: there is room for
	// 100,000 of each.
	maxBody = 64 << 20
	// maxMessage is how much is read of a response that tells of an error.
	maxMessage = 4 << 10
)

// Error is a failed request to a daemon.
type Error struct {
	// Addr is the daemon's address as the Cluster or an nsqlookupd names it, without user and
	// password.
	Addr string
	Op   string // such as "GET /stats"
	// Status is the HTTP status, 0 if there was no response.
	Status int
	// Message is the daemon's reason, such as TOPIC_NOT_FOUND. It is empty if there was no
	// response, or if the response is not one of an NSQ daemon.
	Message string
	Err     error
}

// Error returns the address, the request and the cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", printable(e.Addr), e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrNotFound is wrapped by the errors of calls for a topic or channel that no daemon has.
var ErrNotFound = errors.New("not found")

// printable returns a text of a daemon, quoted if it could forge a line of a log or reach a
// terminal as an escape sequence.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// query makes the parameters of a request from names and values. Empty values are left out.
func query(pairs ...string) url.Values {
	v := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// get decodes the JSON of a response into dst. at is when the response began.
func (c *Cluster) get(ctx context.Context, addr, path string, params url.Values, dst response) (at time.Time, err error) {
	err = c.request(ctx, http.MethodGet, addr, path, params, nil, func(r io.Reader) error {
		at = time.Now()
		if err := json.NewDecoder(r).Decode(dst); err != nil {
			return fmt.Errorf("invalid response: %w", err)
		}
		return dst.check()
	})
	return at, err
}

// post sends a request that changes something, and waits for its success.
func (c *Cluster) post(ctx context.Context, addr, path string, params url.Values) error {
	return c.request(ctx, http.MethodPost, addr, path, params, nil, nil)
}

// request sends a request, and calls read with the body of a response of status 200. Every
// error is an *Error.
func (c *Cluster) request(ctx context.Context, method, addr, path string, params url.Values, body []byte, read func(io.Reader) error) error {
	failure := &Error{Addr: shown(addr), Op: method + " " + path}
	base, err := baseURL(addr)
	if err != nil {
		failure.Err = err
		return failure
	}
	base.Path += path
	base.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, method, base.String(), bytes.NewReader(body))
	if err != nil {
		failure.Err = withoutURL(err)
		return failure
	}
	// Before 1.0 nsqd wrapped its responses, unless it was asked for the present format.
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	resp, err := c.do(req)
	if err != nil {
		failure.Err = withoutURL(err)
		return failure
	}
	defer func() { _ = resp.Body.Close() }()
	failure.Status = resp.StatusCode
	if resp.StatusCode != http.StatusOK {
		failure.Message, failure.Err = refusal(resp)
		return failure
	}
	limited := &io.LimitedReader{R: resp.Body, N: maxBody}
	if read != nil {
		err = read(limited)
	}
	if limited.N == 0 {
		err = fmt.Errorf("response of more than %d MiB", maxBody>>20)
	}
	if err != nil {
		failure.Err = err
		return failure
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxMessage)) // so that the connection is kept
	return nil
}

// do sends a request. Only a GET follows redirects. After most of them a POST would become a
// GET, which changes nothing and may well return status 200, for example for a login page.
func (c *Cluster) do(req *http.Request) (*http.Response, error) {
	client := c.client()
	if req.Method != http.MethodGet {
		straight := *client
		straight.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		client = &straight
	}
	return client.Do(req)
}

// refusal returns the daemon's message and the error of a response that is not of status 200.
// nsqd and nsqlookupd give their message in JSON.
func refusal(resp *http.Response) (message string, err error) {
	begin, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	var said struct {
		Message   string `json:"message"`
		HTTPSPort int    `json:"https_port"`
	}
	status := fmt.Sprintf("HTTP status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if to, err := resp.Location(); err == nil {
		return "", fmt.Errorf("%s: redirected to %s", status, printable(to.Scheme+"://"+to.Host+to.Path))
	}
	if json.Unmarshal(begin, &said) != nil || said.Message == "" {
		return "", errors.New(status)
	}
	reason := printable(said.Message)
	switch {
	case resp.StatusCode == http.StatusNotFound && strings.HasSuffix(said.Message, "_NOT_FOUND"):
		return said.Message, fmt.Errorf("%s: %w", reason, ErrNotFound)
	case said.HTTPSPort > 0:
		return said.Message, fmt.Errorf("%s: use https, port %d", reason, said.HTTPSPort)
	}
	return said.Message, errors.New(reason)
}
