package discover

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// topicNotFound is nsqlookupd's message for an unknown topic.
	topicNotFound = "TOPIC_NOT_FOUND"
	// maxText is how many bytes an error keeps of a message or a name.
	maxText = 200
	// maxProducers is how many nsqds a response may list. Each is remembered, dialled and
	// shown.
	maxProducers = 100_000
	// maxTopics is how many topics a response may list.
	maxTopics = 100_000
	// maxSkipped is how many unusable producers of one response are reported.
	maxSkipped = 10
)

// A Producer is an nsqd that an nsqlookupd lists.
type Producer struct {
	Addr     string // host:port, to connect to
	Hostname string
	Version  string

	TopologyZone, TopologyRegion string

	// Asked is when the newest request whose response lists the nsqd was sent. The
	// Poller sets it.
	Asked time.Time
}

// producer is a Producer as nsqlookupd writes it.
type producer struct {
	RemoteAddress    string `json:"remote_address"`
	Hostname         string `json:"hostname"`
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          int    `json:"tcp_port"`
	Version          string `json:"version"`
	TopologyZone     string `json:"topology_zone"`
	TopologyRegion   string `json:"topology_region"`
}

// A document is the JSON of a response: Producers or Topics, or an error in Message. Before
// 1.0 nsqlookupd wrote an envelope instead, with the list inside Data and an
// error in StatusTxt.
type document struct {
	Message   string          `json:"message"`
	Producers json.RawMessage `json:"producers"`
	Topics    json.RawMessage `json:"topics"`

	StatusCode int             `json:"status_code"`
	StatusTxt  string          `json:"status_txt"`
	Data       json.RawMessage `json:"data"`
}

// parseResponse reads a response of nsqlookupd. v1 says that its header declares
// version 1.0, which has no envelope. skipped are the producers that cannot be used.
//
// If nsqlookupd does not know the topic, the list is empty. Any other status 404 is
// an error: it comes from a proxy that has lost its nsqlookupd, or from a wrong path,
// and must not look as if all nsqds had gone.
func parseResponse(status int, v1 bool, body []byte) (producers []Producer, skipped []*ProducerError, err error) {
	if status == http.StatusOK && len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, nil
	}
	doc, status, err := parseDocument(status, v1, body)
	switch {
	case status != http.StatusOK && err == nil && doc.Message == topicNotFound:
		return nil, nil, nil
	case status != http.StatusOK:
		return nil, nil, doc.refusal(status)
	case err != nil:
		return nil, nil, err
	case doc.Producers == nil:
		return nil, nil, errNoProducers
	}
	return parseProducers(doc.Producers)
}

// parseTopics reads a response of nsqlookupd that lists the names of topics. An empty body
// is an error: it must not look as if all topics had gone.
func parseTopics(status int, v1 bool, body []byte) (topics []string, err error) {
	doc, status, err := parseDocument(status, v1, body)
	switch {
	case status != http.StatusOK:
		return nil, doc.refusal(status)
	case err != nil:
		return nil, err
	case doc.Topics == nil:
		return nil, errNoTopics
	}
	if err := json.Unmarshal(doc.Topics, &topics); err != nil {
		return nil, err
	}
	if len(topics) > maxTopics {
		return nil, errTooManyTopics
	}
	return topics, nil
}

// parseDocument reads the JSON of a response, and takes it and the status out of the
// envelope if there is one.
func parseDocument(status int, v1 bool, body []byte) (document, int, error) {
	var doc document
	err := json.Unmarshal(body, &doc)
	if err == nil && !v1 && doc.Data != nil {
		var inner document
		err = json.Unmarshal(doc.Data, &inner)
		status = cmp.Or(doc.StatusCode, status)
		doc.Message, doc.Producers, doc.Topics = doc.StatusTxt, inner.Producers, inner.Topics
	}
	return doc, status, err
}

// refusal returns the error of a response that is one.
func (d *document) refusal(status int) error {
	return &StatusError{Status: status, Message: truncate(d.Message)}
}

func truncate(s string) string { return s[:min(len(s), maxText)] }

// parseProducers reads the list of a response, of which it keeps no copy.
func parseProducers(list []byte) (producers []Producer, skipped []*ProducerError, err error) {
	entries := json.NewDecoder(bytes.NewReader(list))
	switch begin, err := entries.Token(); {
	case err != nil:
		return nil, nil, err
	case begin == nil: // null
		return nil, nil, nil
	case begin != json.Delim('['):
		return nil, nil, errNotAList
	}
	for n := 0; entries.More(); n++ {
		if n == maxProducers {
			return nil, nil, ErrTooMany
		}
		var p producer
		var addr string
		// The list is valid JSON: an error is one of this entry's type, and the next
		// Decode goes on behind it.
		err := entries.Decode(&p)
		if err == nil {
			addr, err = dialAddr(p.BroadcastAddress, p.TCPPort)
		}
		if err != nil {
			if len(skipped) < maxSkipped {
				skipped = append(skipped, &ProducerError{truncate(p.Hostname), truncate(p.RemoteAddress), err})
			}
			continue
		}
		producers = append(producers, Producer{
			Addr:           addr,
			Hostname:       p.Hostname,
			Version:        p.Version,
			TopologyZone:   p.TopologyZone,
			TopologyRegion: p.TopologyRegion,
		})
	}
	return producers, skipped, nil
}
