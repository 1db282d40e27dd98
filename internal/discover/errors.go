package discover

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

var (
	// ErrTooLarge says that an answer exceeds the bound of what is read.
	ErrTooLarge = fmt.Errorf("answer of more than %d MiB", maxAnswer>>20)

	errNoProducers = errors.New("answer without a list of producers")
	errNotTLS      = errors.New("redirected from https to http")
	errRedirects   = errors.New("stopped after 10 redirects")
	errScheme      = errors.New("scheme is neither http nor https")
	errMissingHost = errors.New("missing host")
	errMissingPort = errors.New("missing port")
	errNoAddress   = errors.New("no broadcast_address")
	errPort        = errors.New("tcp_port out of range")
)

// Error says what failed with which nsqlookupd: to ask it, to understand its
// answer, or to use one of the producers in it ([ProducerError]).
type Error struct {
	Lookupd string // its URL without a password; of an address that is not valid, the address
	Err     error
}

func (e *Error) Error() string {
	err := e.Err
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // it says the URL again
	}
	return fmt.Sprintf("[%s] %v", e.Lookupd, err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// StatusError is an answer of nsqlookupd, or of something on the way to it, that
// is an error.
type StatusError struct {
	Status  int    // of HTTP
	Message string // what nsqlookupd said, such as "INTERNAL_ERROR"; empty if that was not understood
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("HTTP status %d: %s", e.Status, e.Message)
}

// ProducerError is a producer that nsqlookupd lists and that cannot be reached
// as it is listed.
type ProducerError struct {
	Hostname      string
	RemoteAddress string
	Err           error
}

func (e *ProducerError) Error() string {
	return fmt.Sprintf("producer %q (%s) ignored: %v", e.Hostname, e.RemoteAddress, e.Err)
}

// Unwrap returns the cause.
func (e *ProducerError) Unwrap() error { return e.Err }
