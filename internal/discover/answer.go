package discover

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
)

const (
	// topicNotFound is what nsqlookupd says of a topic that no nsqd has had.
	topicNotFound = "TOPIC_NOT_FOUND"
	// maxMessage is how much is kept of an error's message, and of a name.
	maxMessage = 200
	// maxSkipped is how many unusable producers of an answer are told of.
	maxSkipped = 10
)

// A Producer is an nsqd that has the topic, or any.
type Producer struct {
	Addr     string // to connect to, as host:port
	Hostname string
	Version  string

	TopologyZone, TopologyRegion string
}

// producer is how nsqlookupd writes it.
type producer struct {
	RemoteAddress    string `json:"remote_address"`
	Hostname         string `json:"hostname"`
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          int    `json:"tcp_port"`
	Version          string `json:"version"`
	TopologyZone     string `json:"topology_zone"`
	TopologyRegion   string `json:"topology_region"`
}

// A document is an answer of nsqlookupd: what it lists or an error, both either
// bare or in the envelope that it had before 1.0.
type document struct {
	Message   string          `json:"message"`
	Producers json.RawMessage `json:"producers"`

	StatusCode int             `json:"status_code"`
	StatusTxt  string          `json:"status_txt"`
	Data       json.RawMessage `json:"data"`
}

// parseAnswer reads an answer. v1 says that its header tells that there is no
// envelope. Producers that cannot be used are skipped.
//
// That nobody knows the topic is an empty answer. An error 404 by itself is not:
// that is a proxy without its nsqlookupd, or a wrong path, and must not look as
// if all nsqds had gone.
func parseAnswer(status int, v1 bool, body []byte) (producers []Producer, skipped []*ProducerError, err error) {
	if status == http.StatusOK && len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, nil
	}
	var doc document
	err = json.Unmarshal(body, &doc)
	if err == nil && !v1 && doc.Data != nil {
		var inner document
		err = json.Unmarshal(doc.Data, &inner)
		status = cmp.Or(doc.StatusCode, status)
		doc.Message, doc.Producers = doc.StatusTxt, inner.Producers
	}
	switch {
	case status != http.StatusOK && err == nil && doc.Message == topicNotFound:
		return nil, nil, nil
	case status != http.StatusOK:
		return nil, nil, &StatusError{Status: status, Message: short(doc.Message)}
	case err != nil:
		return nil, nil, err
	case doc.Producers == nil:
		return nil, nil, errNoProducers
	}
	return parseProducers(doc.Producers)
}

func short(s string) string { return s[:min(len(s), maxMessage)] }

func parseProducers(list []byte) (producers []Producer, skipped []*ProducerError, err error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(list, &entries); err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		var p producer
		err := json.Unmarshal(entry, &p)
		host := strings.Trim(p.BroadcastAddress, "[]") // some write them, too, of an IPv6 address
		addr := net.JoinHostPort(host, strconv.Itoa(p.TCPPort))
		switch {
		case err != nil:
		case host == "":
			err = errNoAddress
		case p.TCPPort < 1 || p.TCPPort > 65535:
			err = errPort
		default:
			_, _, err = net.SplitHostPort(addr)
		}
		if err != nil {
			if len(skipped) < maxSkipped {
				skipped = append(skipped, &ProducerError{short(p.Hostname), short(p.RemoteAddress), err})
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
