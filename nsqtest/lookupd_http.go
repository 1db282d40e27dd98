package nsqtest

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// HTTPClient returns an HTTP client that dials over the network, for the client's
// SetLookupdHttpClient. It keeps no connections open, so that none of its
// goroutines outlives a request.
func (n *Network) HTTPClient() *http.Client {
	return &http.Client{Transport: &transport{http.Transport{
		DialContext:       n.DialContext,
		DisableKeepAlives: true,
	}}}
}

// A transport ends a dial together with the request that needed it. A plain
// http.Transport goes on dialling, in case another request can use the connection.
type transport struct{ http.Transport }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err != nil {
		t.CloseIdleConnections() // ends dials that no request waits for
	}
	return resp, err
}

// lookupError is an error that nsqlookupd responds with.
type lookupError struct {
	status  int
	message string
}

var (
	errNotFound      = &lookupError{http.StatusNotFound, "NOT_FOUND"}
	errMethod        = &lookupError{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"}
	errRequest       = &lookupError{http.StatusBadRequest, "INVALID_REQUEST"}
	errMissingTopic  = &lookupError{http.StatusBadRequest, "MISSING_ARG_TOPIC"}
	errTopicNotFound = &lookupError{http.StatusNotFound, "TOPIC_NOT_FOUND"}
)

func (l *Lookupd) serve(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.requests = append(l.requests, r.Clone(context.Background()))
	override := l.override
	l.mu.Unlock()
	find, known := lookups[r.URL.Path]
	switch {
	case override != nil:
		override.ServeHTTP(w, r)
	case !known:
		l.respond(w, nil, errNotFound)
	case r.Method != http.MethodGet:
		l.respond(w, nil, errMethod)
	case r.URL.Path == "/ping":
		_, _ = io.WriteString(w, "OK")
	default:
		l.mu.Lock()
		data, err := find(l, r)
		l.mu.Unlock()
		l.respond(w, data, err)
	}
}

// lookups maps a path to the function that returns the data of its response, or an error.
// Callers hold the mutex.
var lookups = map[string]func(*Lookupd, *http.Request) (any, *lookupError){
	"/ping":     nil,
	"/info":     (*Lookupd).info,
	"/topics":   (*Lookupd).listTopics,
	"/nodes":    (*Lookupd).listNodes,
	"/channels": (*Lookupd).listChannels,
	"/lookup":   (*Lookupd).lookup,
}

func (l *Lookupd) info(*http.Request) (any, *lookupError) {
	return map[string]string{"version": "1.3.0"}, nil
}

func (l *Lookupd) listTopics(*http.Request) (any, *lookupError) {
	return map[string][]string{"topics": append([]string{}, slices.Sorted(maps.Keys(l.topics))...)}, nil
}

func (l *Lookupd) listNodes(*http.Request) (any, *lookupError) {
	return map[string][]node{"producers": l.nodes()}, nil
}

func (l *Lookupd) listChannels(r *http.Request) (any, *lookupError) {
	t, err := l.topicOf(r)
	if err != nil && err != errTopicNotFound {
		return nil, err
	}
	channels := []string{}
	if t != nil {
		channels = append(channels, t.channels...)
	}
	return map[string][]string{"channels": channels}, nil
}

func (l *Lookupd) lookup(r *http.Request) (any, *lookupError) {
	t, err := l.topicOf(r)
	if err != nil {
		return nil, err
	}
	return t.lookup(), nil
}

// topicOf returns the topic that a request names.
func (l *Lookupd) topicOf(r *http.Request) (*lookupTopic, *lookupError) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil:
		return nil, errRequest
	case !query.Has("topic"):
		return nil, errMissingTopic
	case l.topics[query.Get("topic")] == nil:
		return nil, errTopicNotFound
	}
	return l.topics[query.Get("topic")], nil
}

// lookup returns the data of /lookup.
func (t *lookupTopic) lookup() any {
	return struct {
		Channels  []string   `json:"channels"`
		Producers []Producer `json:"producers"`
	}{
		Channels:  append([]string{}, t.channels...),
		Producers: slices.DeleteFunc(append([]Producer{}, t.producers...), t.tombstoned),
	}
}

// A node is a producer as /nodes lists it.
type node struct {
	Producer
	Topics     []string `json:"topics"`
	Tombstones []bool   `json:"tombstones"` // of the topic with the same index
}

// nodes returns all producers, each with its topics. Callers hold the mutex.
func (l *Lookupd) nodes() []node {
	nodes := []node{}
	for _, topic := range slices.Sorted(maps.Keys(l.topics)) {
		t := l.topics[topic]
		for _, p := range t.producers {
			i := slices.IndexFunc(nodes, func(n node) bool { return n.Addr() == p.Addr() })
			if i < 0 {
				i = len(nodes)
				nodes = append(nodes, node{Producer: p})
			}
			nodes[i].Topics = append(nodes[i].Topics, topic)
			nodes[i].Tombstones = append(nodes[i].Tombstones, t.tombstoned(p))
		}
	}
	return nodes
}

// envelope is a response of an nsqlookupd before 1.0.
type envelope struct {
	StatusCode int    `json:"status_code"`
	StatusTxt  string `json:"status_txt"`
	Data       any    `json:"data"`
}

// respond sends data, or err unless it is nil, in the form that the options ask
// for. In an envelope every error has status 500.
func (l *Lookupd) respond(w http.ResponseWriter, data any, err *lookupError) {
	status := http.StatusOK
	switch {
	case l.opts.Envelope && err != nil:
		status = http.StatusInternalServerError
		data = envelope{status, err.message, nil}
	case l.opts.Envelope:
		data = envelope{status, "OK", data}
	case err != nil:
		status = err.status
		data = map[string]string{"message": err.message}
	}
	body, _ := json.Marshal(data) // cannot fail for these types
	l.write(w, status, body)
}

func (l *Lookupd) write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if !l.opts.Envelope {
		w.Header().Set("X-NSQ-Content-Type", "nsq; version=1.0")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
