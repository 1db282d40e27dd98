package nsqwatermill

import (
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

// delivered returns a message of NSQ with this body.
func delivered(body []byte) *nsq.Message {
	return nsq.NewMessage(nsq.MessageID([]byte("0123456789abcdef")), body)
}

func with(uuid, payload string, metadata message.Metadata) *message.Message {
	m := message.NewMessage(uuid, message.Payload(payload))
	for key, value := range metadata {
		m.Metadata.Set(key, value)
	}
	return m
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for name, m := range map[string]*message.Message{
		"plain":   with("u", "x", nil),
		"nothing": with("", "", nil),
		"case":    with("u", "x", message.Metadata{"X-Request-ID": "1", "traceId": "2", "name": "3"}),
		"odd": with("a b\n", "NSQ-Envelope: 1\n\nx", message.Metadata{
			"Key with + and %20": " v ", "ключ": "значение", "Ключ": "\x00\xff", "\xff A": "", "k": `"`,
		}),
	} {
		body, err := Envelope{}.Marshal("orders", m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := Envelope{}.Unmarshal(delivered(body))
		if err != nil || !got.Equals(m) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, m)
		}
	}
}

func TestEnvelopeIsReadable(t *testing.T) {
	body, err := Envelope{}.Marshal("orders", with("u1", "{}", message.Metadata{"X-Request-ID": "r1", "traceId": "t1"}))
	if err != nil {
		t.Fatal(err)
	}
	const want = "NSQ-Envelope: 1\n" +
		"_watermill_message_uuid: u1\n" +
		"_watermill_names: X-Request-ID traceId\n" +
		"traceid: t1\n" +
		"x-request-id: r1\n" +
		"\n{}"
	if string(body) != want {
		t.Errorf("got %s", body)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	for want, metadata := range map[string]message.Metadata{
		"empty key":               {"": "x"},
		"another key but for":     {"a": "1", "A": "2"},
		uuidHeader:                {uuidHeader: "x"},
		namesHeader:               {strings.ToUpper(namesHeader): "x"},
		"an envelope allows 6553": {"a": strings.Repeat("x", envelope.MaxHeaderLen)},
	} {
		if _, err := (Envelope{}).Marshal("orders", with("u", "x", metadata)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// An envelope of another publisher has no UUID. One that nsq.OpenEnvelopes has opened is not
// opened again.
func TestEnvelopeOfOthers(t *testing.T) {
	inner := envelope.Seal(envelope.Header{"inner": "1"}, []byte("x"))
	body := envelope.Seal(envelope.Header{"traceparent": "t"}, inner)
	want := with("0123456789abcdef", string(inner), message.Metadata{"traceparent": "t"})
	unopened, err := Envelope{}.Unmarshal(delivered(body))
	if err != nil || !unopened.Equals(want) {
		t.Errorf("got %+v, %v, want %+v", unopened, err, want)
	}
	opening := nsq.OpenEnvelopes()(nsq.HandlerFunc(func(m *nsq.Message) error {
		opened, err := Envelope{}.Unmarshal(m)
		if err == nil && !opened.Equals(want) {
			t.Errorf("opened before: %+v, want %+v", opened, want)
		}
		return err
	}))
	if err := opening.HandleMessage(delivered(body)); err != nil {
		t.Error(err)
	}
}

// What Marshal accepts comes back unchanged.
func FuzzEnvelope(f *testing.F) {
	f.Add("uuid", "key", "value", "Key2", "value 2", []byte("payload"))
	f.Add("", "A", "\x00", "b c", "\"", []byte("NSQ-Envelope: 1\n\n"))
	f.Add("u\n", "k%41", "%41", "K+", " ", []byte(nil))
	f.Add("u", "\xc3\x84", "\xff", "Ä", "_watermill_names", []byte{})
	f.Fuzz(func(t *testing.T, uuid, key1, value1, key2, value2 string, payload []byte) {
		m := with(uuid, string(payload), message.Metadata{key1: value1, key2: value2})
		body, err := Envelope{}.Marshal("orders", m)
		if err != nil {
			return
		}
		got, err := Envelope{}.Unmarshal(delivered(body))
		if err != nil || !got.Equals(m) {
			t.Errorf("%q: got %+v, %v, want %+v", body, got, err, m)
		}
	})
}

// Any body can be unmarshalled, and the result can be published again.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("NSQ-Envelope: 1\n_watermill_message_uuid: u\n_watermill_names: A %zz B B\na: 1\nb: 2\n\nx"))
	f.Add([]byte("NSQ-Envelope: 1\n_watermill_names: _WATERMILL_MESSAGE_UUID\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Envelope{}.Unmarshal(delivered(body))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Envelope{}.Marshal("orders", m)
		if err != nil {
			t.Skip("too many headers, now that there is a UUID")
		}
		got, err := Envelope{}.Unmarshal(delivered(again))
		if err != nil || !got.Equals(m) {
			t.Errorf("%q: got %+v, %v, want %+v", again, got, err, m)
		}
	})
}
