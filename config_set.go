package nsq

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Set gives an option its value by name, as flags and configuration files do.
// The name is that of the field's opt tag, with - or _, or one of the tls_
// options listed at TlsConfig. What is accepted follows from the type of the
// option:
//
//	duration    time.Duration, a string such as "1m30s", or milliseconds: an integer, as a string too
//	bool        bool, a string that strconv.ParseBool takes, or an integer (0 is false)
//	integer     an integer, or a string in base 10
//	float       a float, an integer, or a string
//	string      a string, []byte or fmt.Stringer, an integer or a float
//	local_addr  net.Addr, or "host:port"
//
// and for the others a value of the field's own type, besides the names of
// strategies described at BackoffStrategy. An integer is any of Go's but int8
// and uint8. A nil value is an error, unless it is of the field's own type, such as
// (*tls.Config)(nil): it sets the field to nil.
//
// Set returns an error, and changes nothing, if there is no such option, the
// value is of another type or does not fit the field, or it is out of range.
// It panics only if the Config does not stem from NewConfig.
func (c *Config) Set(option string, value any) error {
	c.mustBeInitialized()
	option = strings.ReplaceAll(option, "-", "_")
	if set, ok := tlsOptions[option]; ok {
		return c.setTLS(set, option, value)
	}
	for field, target := range c.options() {
		if field.Tag.Get("opt") == option {
			return c.setField(field, target, option, value)
		}
	}
	return fmt.Errorf("invalid option %s", option)
}

func (c *Config) setField(field reflect.StructField, target reflect.Value, option string, value any) error {
	coerced, err := coerce(value, field.Type)
	if err != nil {
		return coerceError(option, value, err)
	}
	if err := checkRange(option, field, coerced); err != nil {
		return err
	}
	target.Set(coerced)
	switch option {
	case "backoff_strategy":
		c.BackoffStrategy = bindStrategy(c.BackoffStrategy, c)
	case "tls_v1":
		c.tlsDecided = true
	case "tls_config":
		c.implyTLS(c.TlsConfig != nil)
	}
	return nil
}

// tlsOptions are the options that edit a Config's TlsConfig, which they find
// non-nil and private to that Config.
var tlsOptions = map[string]func(c *Config, option string, value any) error{
	"tls_root_ca_file":         setTLSRoots,
	"tls_cert":                 setTLSCert,
	"tls_key":                  setTLSKey,
	"tls_insecure_skip_verify": setTLSInsecure,
	"tls_min_version":          setTLSMinVersion,
}

var tlsVersions = map[string]uint16{
	"ssl3.0": tls.VersionTLS10,
	"tls1.0": tls.VersionTLS10,
	"tls1.1": tls.VersionTLS11,
	"tls1.2": tls.VersionTLS12,
	"tls1.3": tls.VersionTLS13,
}

// implyTLS switches TLS on because of another option, if that asks for something,
// unless tls_v1 was set itself. Options come in any order, out of a map for
// instance.
func (c *Config) implyTLS(asked bool) {
	if asked && !c.tlsDecided {
		c.TlsV1 = true
	}
}

// setTLS works on a copy, so that an error leaves c as it was and the caller's
// tls.Config is never edited.
func (c *Config) setTLS(set func(*Config, string, any) error, option string, value any) error {
	edited := *c
	edited.TlsConfig = c.TlsConfig.Clone()
	if edited.TlsConfig == nil {
		edited.TlsConfig = &tls.Config{}
	}
	if err := set(&edited, option, value); err != nil {
		return err
	}
	*c = edited
	return nil
}

func setTLSRoots(c *Config, option string, value any) error {
	path, err := coerceTo[string](option, value)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("ERROR: %s: %w", option, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ERROR: %s: no certificate in %s", option, path)
	}
	c.TlsConfig.RootCAs = roots
	c.implyTLS(true)
	return nil
}

func setTLSCert(c *Config, option string, value any) (err error) {
	if c.tlsCertFile, err = coerceTo[string](option, value); err != nil {
		return err
	}
	c.implyTLS(c.tlsCertFile != "")
	return c.loadKeyPair(option)
}

func setTLSKey(c *Config, option string, value any) (err error) {
	if c.tlsKeyFile, err = coerceTo[string](option, value); err != nil {
		return err
	}
	c.implyTLS(c.tlsKeyFile != "")
	return c.loadKeyPair(option)
}

func (c *Config) loadKeyPair(option string) error {
	if c.tlsCertFile == "" || c.tlsKeyFile == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.tlsCertFile, c.tlsKeyFile)
	if err != nil {
		return fmt.Errorf("ERROR: %s: %w", option, err)
	}
	c.TlsConfig.Certificates = []tls.Certificate{pair}
	return nil
}

func setTLSInsecure(c *Config, option string, value any) (err error) {
	c.TlsConfig.InsecureSkipVerify, err = coerceTo[bool](option, value)
	c.implyTLS(c.TlsConfig.InsecureSkipVerify)
	return err
}

func setTLSMinVersion(c *Config, option string, value any) error {
	name, err := coerceTo[string](option, value)
	if err != nil {
		return err
	}
	version, ok := tlsVersions[name]
	if !ok {
		return fmt.Errorf("ERROR: %s: %q is none of ssl3.0, tls1.0, tls1.1, tls1.2, tls1.3", option, name)
	}
	c.TlsConfig.MinVersion = version
	c.implyTLS(true)
	return nil
}

// checkRange compares value with the min and max of the option, or with the
// names it may have; empty is the default's. name is what the error calls it.
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

// numberLess orders two numbers of one type. NaN is less than any number, so
// that it is below every min.
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

// tagValue is the value in a default, min or max tag. A bad tag is a mistake
// in Config, which any use of NewConfig shows.
func tagValue(tag string, t reflect.Type) reflect.Value {
	value, err := coerce(tag, t)
	if err != nil {
		panic(fmt.Sprintf("tag %q: %v", tag, err))
	}
	return value
}

func coerceError(option string, value any, cause error) error {
	return fmt.Errorf("failed to coerce option %s (%s) - %w", option, printable(value), cause)
}

// printable shows plain values and only the type of others: a tls.Config would
// print its private keys.
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

// coerce turns value into one that can be assigned to a field of type t.
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

// coerceNumber stores value in an integer of any size and sign, if it fits.
// Other types take no value but their own.
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

// coerceDuration takes a bare integer as milliseconds in a string too: "-1" is
// how flags and files switch something off.
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
