package nsqotel

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"

	"github.com/rdyhq/nsq/envelope"
)

func TestJSONField(t *testing.T) {
	c := JSONField("traceparent", "baggage")
	fields := propagation.MapCarrier{"traceparent": "tp", "baggage": `a="b"`, "tracestate": "not asked for"}
	const added = `"traceparent":"tp","baggage":"a=\"b\""`
	for _, tt := range []struct{ body, want string }{
		{`{}`, `{` + added + `}`},
		{`{"a":1}`, `{"a":1,` + added + `}`},
		{` { "a" : [1, {"traceparent": 2}] } `, `{ "a" : [1, {"traceparent": 2}] ,` + added + `}`},
		{`{"traceparent":"old","a":1.50}`, `{"traceparent":"tp","a":1.50,"baggage":"a=\"b\""}`},
		{`{"traceparent":null}`, `{` + added + `}`},
		// A body that is not an object is left as it is.
		{``, ``},
		{`[{}]`, `[{}]`},
		{`"{}"`, `"{}"`},
		{`17`, `17`},
		{`{"a":1`, `{"a":1`},
		{`{"a":1} {"b":2}`, `{"a":1} {"b":2}`},
		{"\x00\xff", "\x00\xff"},
	} {
		if got := string(c.Inject([]byte(tt.body), fields)); got != tt.want {
			t.Errorf("%q: got  %q\nwant %q", tt.body, got, tt.want)
		}
	}
}

func TestJSONFieldExtract(t *testing.T) {
	c := JSONField("traceparent")
	for _, tt := range []struct{ body, want string }{
		{`{"traceparent":"tp"}`, "tp"},
		{` {"a":{"traceparent":"inner"},"traceparent":"t\u0070"}`, "tp"},
		{`{"traceparent":17}`, ""},
		{`{"a":1}`, ""},
		{`{"traceparent":`, ""},
	} {
		f := c.Extract(context.Background(), []byte(tt.body))
		if got := f.Get("traceparent"); got != tt.want {
			t.Errorf("%q: got %q", tt.body, got)
		}
		if got := f.Get("baggage"); got != "" {
			t.Errorf("%q: baggage %q", tt.body, got)
		}
	}
	for _, body := range []string{"", "plain", `["traceparent"]`} {
		if f := c.Extract(context.Background(), []byte(body)); f != nil {
			t.Errorf("%q: got %v", body, f)
		}
	}
}

func TestEnvelope(t *testing.T) {
	c, fields := Envelope(), propagation.MapCarrier{"traceparent": "tp", "X-Amzn-Trace-Id": "amzn"}
	in := envelope.Seal(envelope.Header{"key": "7"}, []byte("\x00body"))
	for _, body := range [][]byte{nil, []byte("\x00body"), in} {
		data := c.Inject(body, fields)
		h, inner, ok := envelope.Open(data)
		_, plain, _ := envelope.Open(body)
		if !ok || !bytes.Equal(inner, plain) || h.Get("key") == "" && bytes.Equal(body, in) {
			t.Errorf("%q became %q", body, data)
		}
		ctx := envelope.NewContext(context.Background(), h)
		for _, f := range []propagation.TextMapCarrier{
			c.Extract(context.Background(), data), // OpenEnvelopes comes later
			c.Extract(ctx, inner),                 // OpenEnvelopes came before
		} {
			if f.Get("traceparent") != "tp" || f.Get("X-Amzn-Trace-Id") != "amzn" || len(f.Keys()) != len(h) {
				t.Errorf("%q: got %v", data, f)
			}
		}
	}
	if f := c.Extract(context.Background(), []byte("plain")); f != nil {
		t.Errorf("got %v", f)
	}
	large := propagation.MapCarrier{"baggage": strings.Repeat("x", envelope.MaxHeaderLen)}
	if got := c.Inject([]byte("body"), large); string(got) != "body" {
		t.Errorf("sealed with %d bytes of headers", len(got)-len("body"))
	}
}

// FuzzJSONField checks that Extract returns what Inject wrote, and that Inject changes nothing
// else.
func FuzzJSONField(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"a":1}`, ` {"a" : [1,{"traceparent":2}]} `, `{"traceparent":"old"}`, `{"traceparent":{"a":[]}}`,
		`{"a":1`, `[{}]`, `{"a":"\u0000\""}`, "{}{}", `{"tracep\u0061rent":"x"}`, "\x00", `{"":1}`, `{"a":1,"a":2}`,
		`{"traceparent":"old","a":1,"traceparent":"older"}`,
	} {
		f.Add([]byte(body), "tp")
		f.Add([]byte(body), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, value string) {
		c := JSONField("traceparent")
		before := bytes.Clone(body)
		got := c.Inject(body, propagation.MapCarrier{"traceparent": value})
		if !bytes.Equal(body, before) {
			t.Fatalf("%q became %q in place", before, body)
		}
		object := map[string]json.RawMessage{}
		if json.Unmarshal(body, &object) != nil || !isObject(body) {
			if c.Extract(context.Background(), body) != nil {
				c.Extract(context.Background(), body).Get("traceparent") // must not panic
			}
			return
		}
		with := map[string]json.RawMessage{}
		if err := json.Unmarshal(got, &with); err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		delete(object, "traceparent")
		members := len(object) + 1
		if value == "" {
			members = len(object) // the member was taken out
		}
		if len(with) != members {
			t.Errorf("%q became %q", body, got)
		}
		for name, want := range object {
			if !bytes.Equal(with[name], want) {
				t.Errorf("%q became %q: member %q", body, got, name)
			}
		}
		var valid string // encoding/json replaces what is not UTF-8
		if data, err := json.Marshal(value); err != nil || json.Unmarshal(data, &valid) != nil {
			t.Fatal(err)
		}
		if got := c.Extract(context.Background(), got).Get("traceparent"); got != valid {
			t.Errorf("%q: got %q back", value, got)
		}
	})
}

// Whatever the object, what Inject writes is what Extract and other parsers of JSON find.
func TestJSONFieldOnOddObjects(t *testing.T) {
	c := JSONField("traceparent")
	for _, body := range []string{
		`{"trace\u0070arent":"old"}`,
		`{"\u0074raceparent":"old","a":1}`,
		`{"traceparent":{"traceparent":"x"}}`,
		`{"traceparent":[1,2]}`,
		`{"":1}`, `{"\"":1}`, `{"a\\":1}`, `{"traceparent":1e400}`,
		"{\n\t\"a\": 12345678901234567890123456789\r\n}\n",
		"{\"\xff\":\"\xfe\"}",
	} {
		data := c.Inject([]byte(body), propagation.MapCarrier{"traceparent": "tp"})
		if !json.Valid(data) {
			t.Errorf("%q became %q, which is no JSON", body, data)
		}
		if got := c.Extract(context.Background(), data).Get("traceparent"); got != "tp" {
			t.Errorf("%q became %q: extracted %q", body, data, got)
		}
		var other map[string]any
		if err := json.Unmarshal(data, &other); err == nil && other["traceparent"] != "tp" {
			t.Errorf("%q became %q: other parsers find %v", body, data, other["traceparent"])
		}
	}
}

// A body that is forwarded keeps no part of the trace context with which it came: the
// tracestate of one trace must not go with the traceparent of another.
func TestForwardedBodiesLoseOldContext(t *testing.T) {
	r := newRecorder(t)
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	old := propagation.MapCarrier{"traceparent": "old", "tracestate": "vendor=old", "baggage": "a=old"}
	for _, c := range []Carrier{JSONField("traceparent", "tracestate", "baggage"), Envelope()} {
		body := r.inject(ctx, c, c.Inject([]byte(`{"a":1}`), old))
		got := c.Extract(t.Context(), body)
		if tp := got.Get("traceparent"); !strings.HasPrefix(tp, "00-0af7") || got.Get("tracestate") != "" || got.Get("baggage") != "" {
			t.Errorf("%T: %s", c, body)
		}
		if strings.Contains(string(body), "old") {
			t.Errorf("%T: %s", c, body)
		}
	}
}
