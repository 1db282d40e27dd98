// Package health serves the liveness and readiness probes of an orchestrator such as
// Kubernetes, over HTTP, for the Consumers of a program:
//
//	http.Handle("/live", health.Live(consumer))
//	http.Handle("/ready", health.Ready(consumer))
//	go http.ListenAndServe(":8080", nil)
//
// Live fails only for what a restart cures. If nsqd or nsqlookupd is down, a restart does
// not help, and restarts of all replicas at once would make things worse. Neither probe
// fails because no message comes, because handlers return errors, or because a Consumer
// backs off or is paused. The causes are those of [nsq.HealthCause].
//
// A probe is replied to at once, with status 200 or 503 and a JSON body:
//
//	{"status":"failing","checks":[{"name":"not_connected","error":"consumer of orders/billing: connected to no nsqd"}]}
//
// checks has an entry for each cause that makes the probe fail, with the cause as its name.
// The status is "ok" and checks is empty if there is none. Bodies have topics, channels and
// addresses, but no secrets and nothing of messages.
package health

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/rdyhq/nsq"
)

// Checker is what a probe asks. [nsq.Consumer] is one. Health returns nil, or an error that
// says what is wrong; joined errors are shown one by one. It is called for each request, on
// the request's goroutine, so it must be safe for concurrent use, and return within the
// probe's timeout.
type Checker interface {
	Health() error
}

// CheckerFunc makes a function a [Checker], to have Ready depend on more than Consumers,
// such as a database or [nsq.Producer.Ping]. Its errors make Ready fail, under the name
// "other". They make Live fail only if they wrap an [nsq.HealthError] whose cause needs a
// restart.
type CheckerFunc func() error

// Health calls the function.
func (f CheckerFunc) Health() error { return f() }

// Live returns the handler of a liveness probe. It fails if a restart of the process is the
// only cure: a Consumer's run loop does not respond, or a handler ignores the end of its
// message's context for longer than stuck_after. It panics if a Checker is nil.
func Live(checkers ...Checker) http.Handler {
	return newProbe(checkers, func(err error) bool {
		e, ok := errors.AsType[*nsq.HealthError](err)
		return ok && e.Cause.NeedsRestart()
	})
}

// Ready returns the handler of a readiness probe. It fails if Live does, if a Consumer is
// stopping, and if one has no connection to an nsqd, unless nsqlookupds respond and list no
// nsqd. It fails as well for any error of another Checker. It panics if a Checker is nil.
func Ready(checkers ...Checker) http.Handler {
	return newProbe(checkers, func(error) bool { return true })
}

// probe is the handler of a probe.
type probe struct {
	checkers []Checker
	counts   func(error) bool // reports whether an error makes the probe fail
}

func newProbe(checkers []Checker, counts func(error) bool) probe {
	for _, c := range checkers {
		if c == nil {
			panic("nil Checker")
		}
	}
	return probe{checkers, counts}
}

// report is the body of a reply.
type report struct {
	Status string  `json:"status"`
	Checks []check `json:"checks"`
}

// check is one cause for which a probe fails.
type check struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// ServeHTTP replies to GET and HEAD.
func (p probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	status, said := http.StatusOK, report{Status: "ok", Checks: p.failing()}
	if len(said.Checks) > 0 {
		status, said.Status = http.StatusServiceUnavailable, "failing"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(said) // fails if the client is gone
	}
}

// failing returns the causes for which the probe fails; never nil, which JSON shows as null.
func (p probe) failing() []check {
	checks := []check{}
	for _, c := range p.checkers {
		for _, err := range split(c.Health()) {
			if !p.counts(err) {
				continue
			}
			name := "other"
			if e, ok := errors.AsType[*nsq.HealthError](err); ok {
				name = string(e.Cause)
			}
			checks = append(checks, check{Name: name, Error: err.Error()})
		}
	}
	return checks
}

// split returns the errors that are joined in err. An error that wraps several and has a
// text of its own is one error.
func split(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, split(err)...)
	}
	return all
}
