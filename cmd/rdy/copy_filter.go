package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/itchyny/gojq"
)

// What --jq may make of one message. All of it goes into one command, which nsqd bounds at 5
// MiB unless configured.
const (
	maxFilterResults = 10_000
	maxFilterBytes   = 4 << 20
)

// copyFilter is a flag that takes a jq expression, which makes messages of messages. The zero
// value is no filter.
type copyFilter struct {
	text string
	code *gojq.Code
}

func (f *copyFilter) String() string { return f.text }
func (f *copyFilter) Type() string   { return "expression" }

func (f *copyFilter) Set(s string) error {
	code, err := compileJQ(s)
	if err == nil {
		f.text, f.code = s, code
	}
	return err
}

// apply appends what the expression makes of a body to results. If it fails, it returns the
// results as they were. ctx bounds the run: an expression may have no end.
func (f *copyFilter) apply(ctx context.Context, results [][]byte, body []byte) ([][]byte, error) {
	data, err := decodeJSON(body)
	if err != nil {
		return results, err
	}
	before, size := len(results), 0
	values := f.code.RunWithContext(ctx, data)
	for {
		v, ok := values.Next()
		if !ok {
			return results, nil
		}
		if err, failed := v.(error); failed {
			if halt, ok := errors.AsType[*gojq.HaltError](err); ok && halt.Value() == nil {
				return results, nil
			}
			return results[:before], fmt.Errorf("--jq: %w", err)
		}
		result := body
		if !isSame(v, data) {
			if result, err = gojq.Marshal(v); err != nil {
				return results[:before], fmt.Errorf("--jq: %w", err)
			}
		}
		results, size = append(results, result), size+len(result)
		if n := len(results) - before; n > maxFilterResults || size > maxFilterBytes {
			return results[:before], fmt.Errorf("--jq: %d results with %d bytes, at most %d with %d are allowed",
				n, size, maxFilterResults, maxFilterBytes)
		}
	}
}

// decodeJSON returns the only JSON value of a body. Numbers keep all their digits.
func decodeJSON(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var data any
	if err := d.Decode(&data); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not JSON: more after the first value")
	}
	return data, nil
}

// isSame reports whether a result of jq is the value that it was given. An object or array is
// if it is the same one: jq changes no value but makes a new one.
func isSame(v, data any) bool {
	a, b := reflect.ValueOf(v), reflect.ValueOf(data)
	if !a.IsValid() || !b.IsValid() {
		return a.IsValid() == b.IsValid() // null
	}
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Map:
		return a.Pointer() == b.Pointer()
	case reflect.Slice:
		return a.Len() == b.Len() && a.Pointer() == b.Pointer()
	}
	return a.Comparable() && v == data
}
