package nsqpubsub

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rdyhq/nsq/envelope"
)

// namesHeader is the header with the metadata keys that have capital letters, escaped as in a
// URL's query and separated by spaces. Names of headers are in lower case.
const namesHeader = "_gocloud_names"

// errInvalidMetadata is wrapped by the errors of metadata that no envelope can hold.
var errInvalidMetadata = errors.New("invalid metadata")

// seal returns what is published for a message: the body alone if it can do without an
// envelope.
func seal(metadata map[string]string, body []byte) ([]byte, error) {
	if len(metadata) == 0 && len(body) > 0 {
		if _, _, sealed := envelope.Open(body); !sealed {
			return body, nil
		}
	}
	h := make(envelope.Header, len(metadata)+1)
	h.Set(namesHeader, "")
	var names []string
	for key, value := range metadata {
		before := len(h)
		h.Set(key, value)
		switch _, lower := h[key]; {
		case key == "":
			return nil, fmt.Errorf("%w: an empty key", errInvalidMetadata)
		case len(h) == before:
			return nil, fmt.Errorf("%w: key %q is %s or another key but for its case", errInvalidMetadata, key, namesHeader)
		case !lower:
			names = append(names, url.QueryEscape(key))
		}
	}
	slices.Sort(names) // equal messages make equal envelopes
	if h[namesHeader] = strings.Join(names, " "); len(names) == 0 {
		delete(h, namesHeader)
	}
	sealed := envelope.Seal(h, body)
	if n := len(sealed) - len(body); n > envelope.MaxHeaderLen {
		return nil, fmt.Errorf("%w: %d bytes, an envelope allows %d", errInvalidMetadata, n, envelope.MaxHeaderLen)
	}
	return sealed, nil
}

// open reverses seal. The body aliases data. Without metadata the map is nil.
func open(data []byte) (metadata map[string]string, body []byte) {
	h, body, _ := envelope.Open(data)
	spelled := envelope.Header{} // keys with capital letters, by the names of their headers
	for name := range strings.FieldsSeq(h[namesHeader]) {
		if key, err := url.QueryUnescape(name); err == nil {
			spelled.Set(key, key)
		}
	}
	delete(h, namesHeader)
	for name, value := range h {
		if metadata == nil {
			metadata = make(map[string]string, len(h))
		}
		if key, ok := spelled[name]; ok {
			name = key
		}
		metadata[name] = value
	}
	return metadata, body
}
