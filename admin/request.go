package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds a response. The statistics of 10,000 channels with 10,000 clients are about
// 10 MB.
const maxBody = 256 << 20

// maxMessage bounds what is read of a response that tells of an error.
const maxMessage = 4 << 10

// Error is a request to a daemon that failed.
type Error struct {
	Addr string // of the daemon, as the Cluster or an nsqlookupd names it
	Op   string // such as "GET /stats"
	// Status is the HTTP status, 0 if there was no response.
	Status int
	// Message is what the daemon said about it, such as TOPIC_NOT_FOUND. It is empty if there
	// was no response or none of an NSQ daemon.
	Message string
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Addr, e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrNotFound is wrapped by the errors of calls for a topic or channel that no daemon has.
var ErrNotFound = errors.New("not found")

var errInvalidAddr = errors.New("invalid address: want host:port, or a URL with http or https")

// join joins errors; nil if there are none.
func join(errs []error) error { return errors.Join(errs...) }

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

// get reads JSON from a daemon into dst.
func (c *Cluster) get(ctx context.Context, addr, path string, params url.Values, dst any) error {
	return c.request(ctx, http.MethodGet, addr, path, params, nil, func(r io.Reader) error {
		if err := json.NewDecoder(r).Decode(dst); err != nil {
			return fmt.Errorf("invalid response: %w", err)
		}
		return nil
	})
}

// post sends a request that changes something, and waits for its success.
func (c *Cluster) post(ctx context.Context, addr, path string, params url.Values) error {
	return c.request(ctx, http.MethodPost, addr, path, params, nil, nil)
}

// request sends a request, and calls read with the body of a response of status 200. Every
// error is an *Error.
func (c *Cluster) request(ctx context.Context, method, addr, path string, params url.Values, body []byte, read func(io.Reader) error) error {
	failure := &Error{Addr: addr, Op: method + " " + path}
	base, err := baseURL(addr)
	if err != nil {
		failure.Err = err
		return failure
	}
	base.Path += path
	base.RawQuery = params.Encode()
	req, err := http.NewRequestWithContext(ctx, method, base.String(), bytes.NewReader(body))
	if err != nil {
		failure.Err = err
		return failure
	}
	// Before 1.0 nsqd wrapped its responses, unless it was asked for the present format.
	req.Header.Set("Accept", "application/vnd.nsq; version=1.0")
	resp, err := c.client().Do(req)
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

// withoutURL removes the method and the URL from an error of package net/http: the Error says
// what was asked of which daemon.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// refusal reads the response to a request that failed. nsqd and nsqlookupd say why in JSON.
func refusal(resp *http.Response) (message string, err error) {
	begin, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(begin, &said) != nil || said.Message == "" {
		return "", fmt.Errorf("HTTP status %s", resp.Status)
	}
	if resp.StatusCode == http.StatusNotFound && strings.HasSuffix(said.Message, "_NOT_FOUND") {
		return said.Message, fmt.Errorf("%s: %w", said.Message, ErrNotFound)
	}
	return said.Message, errors.New(said.Message)
}

// baseURL returns the URL of a daemon's HTTP API. Without a scheme an address needs a port.
func baseURL(addr string) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return nil, errInvalidAddr
		}
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errInvalidAddr // err would repeat a password
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}
