package nsqotel

import (
	"context"
	"errors"
	"go/token"
	"reflect"
	"strings"

	"github.com/rdyhq/nsq"
)

// sentinels are errors without a type of their own. The first one that an error wraps counts.
var sentinels = []struct {
	err  error
	name string
}{
	{nsq.ErrNotSent, "nsq.ErrNotSent"},
	{nsq.ErrUnknownOutcome, "nsq.ErrUnknownOutcome"},
	{nsq.ErrMessageTimedOut, "nsq.ErrMessageTimedOut"},
	{nsq.ErrConnectionLost, "nsq.ErrConnectionLost"},
	{nsq.ErrStopped, "nsq.ErrStopped"},
	{context.Canceled, "context.Canceled"},
	{context.DeadlineExceeded, "context.DeadlineExceeded"},
}

// errorType returns the error.type of an error: "" for nil, "panic", an error code of nsqd,
// the name of a sentinel, what the method ErrorType of an error returns, or a Go type. It is
// never the text of an error, so it has few values.
func errorType(err error) string {
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[*nsq.PanicError](err); ok {
		return "panic"
	}
	if refused, ok := errors.AsType[*nsq.ProtocolError](err); ok && isCode(refused.Code) {
		return refused.Code
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.name
		}
	}
	if named, ok := errors.AsType[interface {
		error
		ErrorType() string
	}](err); ok {
		return typeName(named)
	}
	if typed := innermost(err); typed != nil {
		return typeName(typed)
	}
	return otherError
}

// isCode reports whether a code looks like those of NSQ's protocol. A peer may send anything.
func isCode(code string) bool {
	return strings.HasPrefix(code, "E_") && len(code) < 40 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// innermost returns the innermost error whose type says something, or nil if there is none.
// Of joined errors the first such one counts.
func innermost(err error) error {
	var wrapped []error
	switch e := err.(type) { //nolint:errorlint // this walks the tree
	case interface{ Unwrap() error }:
		wrapped = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		wrapped = e.Unwrap()
	}
	for _, inner := range wrapped {
		if inner == nil {
			continue
		}
		if typed := innermost(inner); typed != nil {
			return typed
		}
	}
	if saysNothing(reflect.TypeOf(err)) {
		return nil
	}
	return err
}

// saysNothing reports whether errors of all kinds have this type, as those of packages
// errors and fmt do, and those with which package nsq marks the errors of handlers.
func saysNothing(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.PkgPath() {
	case "errors", "fmt":
		return true
	case reflect.TypeFor[nsq.Message]().PkgPath():
		return !token.IsExported(t.Name())
	}
	return false
}
