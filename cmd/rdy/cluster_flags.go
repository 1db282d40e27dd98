package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// The environment variables that name a cluster.
	lookupdEnv  = "RDY_LOOKUPD"
	nsqdHTTPEnv = "RDY_NSQD_HTTP"

	defaultRequestTimeout = 10 * time.Second
	// defaultPollTimeout leaves room for the three requests that a poll may send one after the
	// other, within the 10 s that Prometheus and Nagios's NRPE wait for a result.
	defaultPollTimeout = 3 * time.Second
	minRequestTimeout  = 10 * time.Millisecond
	maxRequestTimeout  = 10 * time.Minute
)

// clusterHelp is about the flags of clusterFlags.
const clusterHelp = `The cluster is each nsqd that --nsqd-http names or that an nsqlookupd of --lookupd lists. An
address is host:port, or an http or https URL. If neither flag is given, the environment
variables ` + lookupdEnv + ` and ` + nsqdHTTPEnv + `, with addresses separated by commas, or
else a profile name the cluster: see "rdy profile". Requests go through the proxy that
HTTP_PROXY, HTTPS_PROXY and NO_PROXY name.`

// clusterFlags are the flags that name the cluster that a command looks at or changes.
type clusterFlags struct {
	lookupds httpAddrsFlag
	nsqds    httpAddrsFlag
	timeout  time.Duration
}

func (c *clusterFlags) add(f *pflag.FlagSet) {
	c.timeout = defaultRequestTimeout
	f.Var(&c.lookupds, "lookupd", "HTTP address of an nsqlookupd that lists nsqds; repeat the flag for more")
	f.Var(&c.nsqds, "nsqd-http", "HTTP address of an nsqd; repeat the flag for more")
	f.Var(durationFlag(&c.timeout, minRequestTimeout, maxRequestTimeout), "timeout", "how long a request to a daemon may take")
	fromProfile(f, "lookupd", "nsqd-http", "timeout")
}

// addPolling is add for a command that somebody waits for while a daemon hangs.
func (c *clusterFlags) addPolling(f *pflag.FlagSet) {
	c.add(f)
	c.timeout = defaultPollTimeout
	f.Lookup("timeout").DefValue = defaultPollTimeout.String()
}

// target returns the cluster that the flags name. The caller closes it.
func (c *clusterFlags) target(cmd *cobra.Command) (*target, error) {
	if len(c.lookupds)+len(c.nsqds) == 0 {
		return nil, usage(cmd, "--lookupd or --nsqd-http is missing; give an address such as --lookupd 127.0.0.1:4161")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return &target{
		Cluster: &admin.Cluster{
			Lookupds: c.lookupds, NSQDs: c.nsqds,
			Client: &http.Client{Transport: transport, Timeout: c.timeout, CheckRedirect: noRedirect},
		},
		close: transport.CloseIdleConnections,
	}, nil
}

// noRedirect makes a redirect an error. No daemon sends one, and what follows a redirected
// POST may be a GET: nothing is changed, but the response may look like a success.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// target is the cluster that a command looks at or changes.
type target struct {
	*admin.Cluster
	close func() // closes the connections
}

// poll reads what the nsqds count of a channel, of a topic if channel is empty, or of all
// topics if both are.
func (t *target) poll(ctx context.Context, topic, channel string) (*admin.View, error) {
	if topic == "" {
		return t.Poll(ctx)
	}
	return t.PollClients(ctx, topic, channel)
}

// httpAddrsFlag is a flag that takes the address of an HTTP API and may be repeated. It
// drops duplicates.
type httpAddrsFlag []string

func (h *httpAddrsFlag) String() string { return strings.Join(*h, ",") }
func (h *httpAddrsFlag) Type() string   { return "address" }

// Set checks an address. Its errors do not show it: there may be a password in it.
func (h *httpAddrsFlag) Set(s string) error {
	addr, ok := httpAddr(s)
	if !ok {
		return fmt.Errorf("want host:port, such as 127.0.0.1:4161, or a URL with http or https and without user, password and query")
	}
	if !slices.Contains(*h, addr) {
		*h = append(*h, addr)
	}
	return nil
}

// httpAddr returns the shortest form of an address: host:port unless a URL is needed. So
// errors and results name a daemon in one way.
func httpAddr(s string) (addr string, ok bool) {
	if !strings.Contains(s, "://") {
		return s, isHostPort(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr = net.JoinHostPort(u.Hostname(), port)
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if u.Scheme == "https" || path != "" {
		return u.Scheme + "://" + addr + path, isHostPort(addr)
	}
	return addr, isHostPort(addr)
}

// isHostPort reports whether s is a host and a port.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && portErr == nil && n > 0 && !strings.ContainsAny(host, "/?#@ ")
}

// nodeError is why a request to a daemon failed, as --json prints it.
type nodeError struct {
	Addr    string `json:"addr,omitempty"`    // of the daemon; empty if the error concerns all
	Request string `json:"request,omitempty"` // such as "GET /stats"
	Status  int    `json:"status,omitempty"`  // of HTTP; 0 if there was no response
	Error   string `json:"error"`
}

// nodeErrors returns the errors of daemons in err, which may be nil.
func nodeErrors(err error) []nodeError {
	found := []nodeError{}
	if err == nil {
		return found
	}
	for _, one := range joined(err) {
		if failed, ok := errors.AsType[*admin.Error](one); ok && failed.Error() == one.Error() {
			found = append(found, nodeError{failed.Addr, failed.Op, failed.Status, failed.Err.Error()})
		} else if several := asJoined(one); several != nil {
			found = append(found, nodeErrors(several)...)
		} else {
			found = append(found, nodeError{Error: one.Error()})
		}
	}
	return found
}

// asJoined returns the errors that errors.Join has made one, if err wraps such an error
// with a text of its own.
func asJoined(err error) error {
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		if _, ok := e.(interface{ Unwrap() []error }); ok {
			return e
		}
	}
	return nil
}

// incomplete returns the error for a result that lacks what daemons have not said.
func incomplete(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("figures are missing: %w", err)
}

// notFound returns an error if no nsqd in v has the topic, or the channel if it is not
// empty. Both may be empty.
func notFound(v *admin.View, topic, channel string) error {
	t := v.Topic(topic)
	if topic == "" || t != nil && (channel == "" || t.Channel(channel) != nil) {
		return nil
	}
	what := names{topic: topic, channel: channel}
	var asked []string
	for _, n := range v.NSQDs {
		if n.Error == "" {
			asked = append(asked, n.Addr)
		}
	}
	if len(asked) == 0 {
		return fmt.Errorf("%s not found: no nsqd responded", what)
	}
	return fmt.Errorf("%s not found on nsqd %s", what, figures.List(asked))
}
