// Package health serves the liveness and readiness probes of an orchestrator such as
// Kubernetes, over HTTP, for the Consumers of a program:
//
//	http.Handle("/live", health.Live(consumer))
//	http.Handle("/ready", health.Ready(consumer))
//	go http.ListenAndServe(":8080", nil)
//
// [Live] fails only for what a restart cures, [Ready] for any cause. The causes are those of
// [nsq.HealthCause]. If nsqd or nsqlookupd is down, a restart does not help, and restarting
// all replicas at once would make things worse. Neither probe fails because no message
// comes, because handlers return errors, or because a Consumer backs off or is paused.
// A [CheckerFunc] adds anything else that a program depends on.
//
// The handlers respond at once, with status 200 or 503 and a JSON body:
//
//	{"status":"failing","checks":[{"name":"not_connected","error":"consumer of orders/billing: connected to no nsqd"}]}
//
// checks has an entry for each cause that makes the probe fail, named after the cause. If
// there is none, status is "ok" and checks is empty. The body names topics, channels,
// addresses and the IDs of stuck messages. It holds no secrets and no message bodies.
package health

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/rdyhq/nsq"
)

// Checker is what a probe asks. [nsq.Consumer] and [nsq.Group] are Checkers. Health returns
// nil, or an error that says what is wrong. Joined errors are shown one by one. Health is
// called for each request, on the goroutine of the request. So it must be safe for concurrent
// use, and return within the probe's timeout.
type Checker interface {
	Health() error
}

// CheckerFunc is a function as a [Checker]. With it, Ready can depend on more than
// Consumers, such as a database or [nsq.Producer.Ping]. Its errors make Ready fail, under
// the name "other". They make Live fail only if they wrap an [nsq.HealthError] whose cause
// needs a restart.
type CheckerFunc func() error

// Health calls the function.
func (f CheckerFunc) Health() error { return f() }

// Live returns the handler of a liveness probe. The probe fails only if nothing but a restart
// of the process helps: a Consumer's run loop does not respond, or a handler is still at work
// more than stuck_after after its message's lease has ended. Live panics if a Checker is nil.
func Live(checkers ...Checker) http.Handler {
	return newProbe(checkers, func(err error) bool {
		e, ok := errors.AsType[*nsq.HealthError](err)
		return ok && e.Cause.NeedsRestart()
	})
}

// Ready returns the handler of a readiness probe. The probe fails
//
//   - if Live would,
//   - if a Consumer is stopping or has stopped,
//   - if a Consumer has no connection to an nsqd, unless an nsqlookupd responds and none
//     lists an nsqd,
//   - for any error of another Checker.
//
// Ready panics if a Checker is nil.
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

// report is the body of a response.
type report struct {
	Status string  `json:"status"`
	Checks []check `json:"checks"`
}

// check is one cause for which a probe fails.
type check struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// ServeHTTP responds to GET and HEAD.
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
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	joined := errors.Join(several.Unwrap()...) // nil if there is none in it
	if joined == nil || joined.Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, err := range several.Unwrap() {
		all = append(all, split(err)...)
	}
	return all
}
