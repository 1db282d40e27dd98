package discover

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

var (
	// ErrTooLarge means that a response is too large to be read.
	ErrTooLarge = fmt.Errorf("response of more than %d MiB", maxResponse>>20)

	// ErrTooMany means that a response lists more nsqds than are used.
	ErrTooMany = fmt.Errorf("response lists more than %d nsqds", maxProducers)

	errTooManyTopics = fmt.Errorf("response lists more than %d topics", maxTopics)

	errNotAList    = errors.New("producers are not a list")
	errNoProducers = errors.New("response without a list of producers")
	errNoTopics    = errors.New("response without a list of topics")
	errNotTLS      = errors.New("redirected from https to http")
	errRedirects   = errors.New("stopped after 10 redirects")
	errScheme      = errors.New("scheme is neither http nor https")
	errMissingHost = errors.New("missing host")
	errMissingPort = errors.New("missing port")
	errNoAddress   = errors.New("no broadcast_address")
	errPort        = errors.New("tcp_port out of range")
	errLongHost    = fmt.Errorf("broadcast_address of more than %d bytes", maxHost)
	errUnixHost    = errors.New(`broadcast_address is "unix", which would mean a socket's path`)
)

// Error is a failure of one nsqlookupd: its address is invalid, the request
// failed, the response cannot be read, or it lists a producer that cannot be used
// (a [ProducerError]).
type Error struct {
	Lookupd string // its URL, or the invalid address, without passwords and the query's values
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("[%s] %v", e.Lookupd, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// StatusError is an error response of nsqlookupd, or of a proxy in front of it.
type StatusError struct {
	Status  int    // the HTTP status, or the one in the envelope
	Message string // nsqlookupd's, such as "INTERNAL_ERROR"; empty if the body has none
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("HTTP status %d: %s", e.Status, printable(e.Message))
}

// ProducerError is a producer whose address, as nsqlookupd lists it, cannot be
// dialled.
type ProducerError struct {
	Hostname      string
	RemoteAddress string
	Err           error
}

func (e *ProducerError) Error() string {
	return fmt.Sprintf("producer %q (%q) ignored: %v", e.Hostname, e.RemoteAddress, e.Err)
}

// Unwrap returns the cause.
func (e *ProducerError) Unwrap() error { return e.Err }

// printable returns a text of nsqlookupd, quoted if it could forge a line of a log or
// reach a terminal as an escape sequence.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
