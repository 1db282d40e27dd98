package nsq

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checkRange returns an error if value is below the option's min tag, above its max
// tag, or not among the words of its oneof tag; an empty string stands for the
// default and is accepted. name is the option's name in the error.
func checkRange(name string, option reflect.StructField, value reflect.Value) error {
	if tag, ok := option.Tag.Lookup("min"); ok {
		if limit := tagValue(tag, option.Type); numberLess(value, limit) {
			return fmt.Errorf("invalid %s ! %v < %v", name, value, limit)
		}
	}
	if tag, ok := option.Tag.Lookup("max"); ok {
		if limit := tagValue(tag, option.Type); numberLess(limit, value) {
			return fmt.Errorf("invalid %s ! %v > %v", name, value, limit)
		}
	}
	if tag, ok := option.Tag.Lookup("oneof"); ok && value.Len() > 0 && !slices.Contains(strings.Fields(tag), value.String()) {
		return fmt.Errorf("invalid %s ! %q is none of: %s", name, value, tag)
	}
	return nil
}

// numberLess reports whether a is less than b, a number of the same type. NaN is
// less than any number, and so below every min.
func numberLess(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	default:
		return cmp.Less(a.Float(), b.Float())
	}
}

// tagValue returns the value of a default, min or max tag. It panics on a bad tag,
// which is a mistake in the Config type that every call of NewConfig shows.
func tagValue(tag string, t reflect.Type) reflect.Value {
	value, err := coerce(tag, t)
	if err != nil {
		panic(fmt.Sprintf("tag %q: %v", tag, err))
	}
	return value
}

func coerceError(option string, value any, cause error) error {
	shown := printable(value)
	if option == "auth_secret" {
		shown = fmt.Sprintf("%T", value)
	}
	return fmt.Errorf("failed to coerce option %s (%s) - %w", option, shown, cause)
}

// printable returns the text of a plain value, and only the type of any other: a
// tls.Config would print its private keys.
func printable(value any) string {
	kind := reflect.ValueOf(value).Kind()
	if kind <= reflect.Complex128 || kind == reflect.String {
		return fmt.Sprint(value)
	}
	return fmt.Sprintf("%T", value)
}

func coerceTo[T any](option string, value any) (T, error) {
	coerced, err := coerce(value, reflect.TypeFor[T]())
	if err != nil {
		var zero T
		return zero, coerceError(option, value, err)
	}
	return coerced.Interface().(T), nil
}

var (
	errNil      = errors.New("value is nil")
	errTooLarge = errors.New("value does not fit")
)

func errType(value any) error {
	return fmt.Errorf("invalid value type %T", value)
}

// coerce converts value to one that can be assigned to a field of type t.
func coerce(value any, t reflect.Type) (reflect.Value, error) {
	given := reflect.ValueOf(value)
	switch {
	case given.IsValid() && given.Type() == t:
		return given, nil
	case isNil(given):
		return reflect.Value{}, errNil
	case given.Type().AssignableTo(t):
		return given, nil
	}
	target := reflect.New(t)
	var err error
	switch p := target.Interface().(type) {
	case *time.Duration:
		*p, err = coerceDuration(value)
	case *bool:
		*p, err = coerceBool(value)
	case *float64:
		*p, err = coerceFloat(value)
	case *string:
		*p, err = coerceString(value)
	case *net.Addr:
		*p, err = coerceAddr(value)
	case *BackoffStrategy:
		*p, err = coerceStrategy(value)
	default:
		if t.Kind() != reflect.String {
			err = coerceNumber(target.Elem(), value)
			break
		}
		var name string
		name, err = coerceString(value)
		target.Elem().SetString(name)
	}
	return target.Elem(), err
}

func isNil(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Chan, reflect.Func, reflect.Map, reflect.Pointer, reflect.Slice, reflect.UnsafePointer:
		return v.IsNil()
	}
	return false
}

// coerceNumber stores value in target, an integer of any size and sign, if it fits.
// Targets of other types are an error: they take only values of their own type.
func coerceNumber(target reflect.Value, value any) error {
	if !target.CanInt() && !target.CanUint() {
		return errType(value)
	}
	n, err := coerceInt(value)
	switch {
	case err != nil:
		return err
	case target.CanInt() && !target.OverflowInt(n):
		target.SetInt(n)
	case target.CanUint() && n >= 0 && !target.OverflowUint(uint64(n)):
		target.SetUint(uint64(n))
	default:
		return fmt.Errorf("%w in %v", errTooLarge, target.Type())
	}
	return nil
}

func coerceInt(value any) (int64, error) {
	switch v := value.(type) {
	case string:
		return strconv.ParseInt(v, 10, 64)
	case int, int16, int32, int64:
		return reflect.ValueOf(v).Int(), nil
	case uint, uint16, uint32, uint64:
		n := reflect.ValueOf(v).Uint()
		if n > math.MaxInt64 {
			return 0, errTooLarge
		}
		return int64(n), nil
	}
	return 0, errType(value)
}

// coerceDuration takes an integer, or a string with one, as milliseconds: flags and
// files switch options off with "-1".
func coerceDuration(value any) (time.Duration, error) {
	ms, err := coerceInt(value)
	if err != nil {
		if s, ok := value.(string); ok {
			return time.ParseDuration(s)
		}
		return 0, err
	}
	if ms > math.MaxInt64/int64(time.Millisecond) || ms < math.MinInt64/int64(time.Millisecond) {
		return 0, fmt.Errorf("%w in a duration", errTooLarge)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func coerceBool(value any) (bool, error) {
	if s, ok := value.(string); ok {
		return strconv.ParseBool(s)
	}
	n, err := coerceInt(value)
	return n != 0, err
}

func coerceFloat(value any) (float64, error) {
	switch v := value.(type) {
	case string:
		return strconv.ParseFloat(v, 64)
	case float32:
		return float64(v), nil
	}
	n, err := coerceInt(value)
	return float64(n), err
}

func coerceString(value any) (string, error) {
	switch v := value.(type) {
	case []byte, fmt.Stringer:
		return fmt.Sprintf("%s", v), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.String {
		return v.String(), nil
	}
	n, err := coerceInt(value)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(n, 10), nil
}

func coerceAddr(value any) (net.Addr, error) {
	s, ok := value.(string)
	if !ok {
		return nil, errType(value)
	}
	addr, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		return nil, err
	}
	return addr, nil
}

func coerceStrategy(value any) (BackoffStrategy, error) {
	name, ok := value.(string)
	if !ok {
		return nil, errType(value)
	}
	switch name {
	case "", "exponential":
		return &ExponentialStrategy{}, nil
	case "full_jitter":
		return &FullJitterStrategy{}, nil
	}
	return nil, errors.New("unknown backoff strategy")
}
