package nsqwatermill

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/envelope"
)

// A Marshaler turns Watermill messages into bodies of NSQ messages and back. Its methods must
// be safe for concurrent use.
type Marshaler interface {
	// Marshal returns the body for a message that is published to a topic. It must not
	// change the message. nsqd refuses an empty body.
	Marshal(topic string, m *message.Message) ([]byte, error)

	// Unmarshal returns a new message for one that a Consumer received. It must neither
	// ack nor requeue m. If it returns an error, the Consumer logs the error and requeues m,
	// with a delay of default_requeue_delay × attempts and without backoff.
	Unmarshal(m *nsq.Message) (*message.Message, error)
}

const (
	// uuidHeader is the header with the UUID. Watermill's adapters for other brokers use
	// the same name.
	uuidHeader = "_watermill_message_uuid"

	// namesHeader is the header with the metadata keys that have capital letters, escaped
	// as in a URL's query and separated by spaces. Names of headers are in lower case.
	namesHeader = "_watermill_names"
)

// Envelope is the default [Marshaler]. It puts the payload into an envelope, with the UUID
// and the metadata as headers. So other consumers can read the metadata with
// nsq.OpenEnvelopes, and the headers of any envelope become metadata. Keys keep their case,
// and values may hold any bytes.
//
// A body that is no envelope is the payload of a message with empty metadata. A message
// without a header for its UUID gets the ID that nsqd gave it, which stays the same when the
// message is delivered again.
type Envelope struct{}

// Marshal returns an envelope. It fails if a metadata key is empty or reserved by this
// package, if two keys differ only in the case of their letters, and if the headers take more
// than envelope.MaxHeaderLen bytes.
func (Envelope) Marshal(_ string, m *message.Message) ([]byte, error) {
	h := envelope.Header{uuidHeader: m.UUID, namesHeader: ""}
	var names []string
	for key, value := range m.Metadata {
		before := len(h)
		h.Set(key, value)
		switch _, same := h[key]; {
		case key == "":
			return nil, fmt.Errorf("metadata has an empty key, which an envelope cannot hold")
		case len(h) == before:
			return nil, fmt.Errorf("metadata key %q is %s, %s or another key but for its case, which an envelope cannot hold",
				key, uuidHeader, namesHeader)
		case !same:
			names = append(names, url.QueryEscape(key))
		}
	}
	slices.Sort(names) // equal messages make equal bodies
	if h[namesHeader] = strings.Join(names, " "); len(names) == 0 {
		delete(h, namesHeader)
	}
	body := envelope.Seal(h, m.Payload)
	if n := len(body) - len(m.Payload); n > envelope.MaxHeaderLen {
		return nil, fmt.Errorf("metadata takes %d bytes, an envelope allows %d", n, envelope.MaxHeaderLen)
	}
	return body, nil
}

// Unmarshal opens an envelope, unless nsq.OpenEnvelopes has done so. It does not fail. The
// payload aliases the body of m.
func (Envelope) Unmarshal(m *nsq.Message) (*message.Message, error) {
	payload := m.Body
	h, opened := envelope.FromContext(m.Context())
	if !opened {
		h, payload, _ = envelope.Open(m.Body)
	}
	uuid, ok := h[uuidHeader]
	if !ok {
		uuid = string(m.ID[:])
	}
	received := message.NewMessage(uuid, payload)
	spelled := envelope.Header{} // keys with capital letters, by the names of their headers
	for name := range strings.FieldsSeq(h[namesHeader]) {
		if key, err := url.QueryUnescape(name); err == nil {
			spelled.Set(key, key)
		}
	}
	for name, value := range h {
		switch key, ok := spelled[name]; {
		case name == uuidHeader, name == namesHeader:
		case ok:
			received.Metadata[key] = value
		default:
			received.Metadata[name] = value
		}
	}
	return received, nil
}
