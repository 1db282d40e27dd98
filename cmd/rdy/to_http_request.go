package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/visible"
)

const (
	// The bounds of a delay that a server asks for with Retry-After. Without a least one, a
	// server that asks for 0 would be sent the same messages again and again at full speed.
	// The largest is nsqd's default max-req-timeout.
	minRetryAfter = time.Second
	maxRetryAfter = time.Hour

	maxResponse       = 64 << 10 // bytes that are read of a response, for the sake of its connection
	maxResponseHeader = 64 << 10
	maxExcerpt        = 256 // bytes of a response that an error shows
	idleTimeout       = 90 * time.Second
)

// poster makes a request for a message.
type poster struct {
	client     *http.Client
	method     string
	fixed      http.Header // headers unless the user sets them
	headers    headersFlag
	attributes bool // add the headers that begin with Nsq-
	timeout    time.Duration
	timedOut   error // the cause of the end of a request that takes longer
}

// hasBody reports whether requests of a method carry the message as their body.
func hasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// httpFailure says why a server has not taken a message.
type httpFailure struct {
	url     string
	why     string        // such as "503 Service Unavailable"
	detail  string        // the beginning of the response; empty if there is none
	refused bool          // the same request would fail again
	after   time.Duration // when the server asks to try again; 0 if it does not
	cut     bool          // the request was given up for a reason that has nothing to do with the server
}

func (f *httpFailure) Error() string {
	text := f.url + ": " + f.why
	if f.detail != "" {
		text += ": " + f.detail
	}
	return text
}

// send sends a message to a URL. It returns nil if the server has taken it, which is to say
// if the status is 2xx.
func (p *poster) send(m *nsq.Message, to *urlTemplate) *httpFailure {
	ctx, cancel := context.WithTimeoutCause(m.Context(), p.timeout, p.timedOut)
	defer cancel()
	req, err := p.request(ctx, m, to)
	if err != nil {
		return &httpFailure{url: to.name, why: "cannot make a request from the message: " + err.Error(), refused: true}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return failedRequest(ctx, to, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // it is the bare connection, and a read of it does not end with ctx
		resp.Body = http.NoBody
	}
	f := judgeResponse(resp, time.Now())
	if f != nil {
		f.url = to.name
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse)) // only a connection that was read to the end serves again
	return f
}

func (p *poster) request(ctx context.Context, m *nsq.Message, to *urlTemplate) (*http.Request, error) {
	target, err := to.url(valuesOf(m))
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if hasBody(p.method) {
		body = bytes.NewReader(m.Body)
	}
	req, err := http.NewRequestWithContext(ctx, p.method, "", body)
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = target, target.Host
	for _, h := range p.headers {
		v, err := h.render(valuesOf(m))
		if err != nil {
			return nil, err
		}
		if h.name == "Host" {
			req.Host = v
		} else {
			req.Header.Add(h.name, v)
		}
	}
	p.complete(req.Header, m)
	return req, nil
}

// complete adds the headers that the user has not set.
func (p *poster) complete(h http.Header, m *nsq.Message) {
	for name, values := range p.fixed {
		if h[name] == nil {
			h[name] = values // which net/http only reads
		}
	}
	if !p.attributes {
		return
	}
	for _, a := range attributeHeaders {
		if h[a.header] == nil {
			h[a.header] = []string{placeholders[a.value](m)}
		}
	}
}

// attributeHeaders are headers and the placeholders that they have the values of.
var attributeHeaders = []struct{ header, value string }{
	{"Nsq-Message-Id", "ID"}, {"Nsq-Attempts", "Attempts"}, {"Nsq-Timestamp", "Timestamp"}, {"Nsq-Topic", "Topic"},
}

// failedRequest returns the failure of a request without a response.
func failedRequest(ctx context.Context, to *urlTemplate, err error) *httpFailure {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which may contain the message or a secret
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &httpFailure{
		url: to.name, why: err.Error(),
		cut: errors.Is(err, nsq.ErrConnectionLost) || errors.Is(err, nsq.ErrStopped),
	}
}

// judgeResponse returns nil for a response that says that the server has taken the message.
func judgeResponse(resp *http.Response, now time.Time) *httpFailure {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	f := &httpFailure{why: fmt.Sprintf("%d %s", code, http.StatusText(code))} // not resp.Status, which may be any text
	excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, maxExcerpt))
	f.detail = string(visible.Escape(bytes.TrimSpace(excerpt), ""))
	switch {
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		f.after = retryAfter(resp.Header.Get("Retry-After"), now)
	default:
		f.refused = true
	}
	return f
}

// retryAfter returns the delay that a Retry-After header asks for, within bounds, or 0 if it
// asks for none.
func retryAfter(header string, now time.Time) time.Duration {
	var delay time.Duration
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		delay = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second // #nosec G115 -- bounded
	} else if at, err := http.ParseTime(header); err == nil {
		delay = at.Sub(now)
	} else {
		return 0
	}
	return min(max(delay, minRetryAfter), maxRetryAfter)
}

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// within returns a dialFunc that bounds how long dial may take.
func (dial dialFunc) within(timeout time.Duration) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return dial(ctx, network, addr)
	}
}

// newHTTPClient returns the client for requests. It keeps a connection for each of as many
// requests as are made at a time. ca is a file with the roots to trust; empty means the
// system's. A dial of nil means the net package.
func newHTTPClient(ca string, connect time.Duration, atATime int, dial dialFunc) (*http.Client, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial.within(connect),
		TLSHandshakeTimeout:    connect,
		MaxIdleConnsPerHost:    atATime,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a short response may be long when it is unpacked
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no PEM certificate", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, CheckRedirect: followGET}, nil
}

// maxRedirects is how many redirects are followed, as by net/http.
const maxRedirects = 10

// followGET follows the redirects of GET, which has no body to send again. Headers may hold
// secrets, so it stays on the host, and does not leave https.
func followGET(req *http.Request, via []*http.Request) error {
	from := via[0]
	if from.Method != http.MethodGet || len(via) > maxRedirects ||
		req.URL.Hostname() != from.URL.Hostname() || from.URL.Scheme == "https" && req.URL.Scheme != "https" {
		return http.ErrUseLastResponse
	}
	return nil
}
