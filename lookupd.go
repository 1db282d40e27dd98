package nsq

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/rdyhq/nsq/internal/discover"
	"github.com/rdyhq/nsq/internal/fleet"
)

// discoverConfig returns the configuration of a poller that looks up the nsqds of a
// topic, or all nsqds if topic is empty. client may be nil.
func (c *Config) discoverConfig(topic string, client *http.Client, publish func(discover.Result)) discover.Config {
	return discover.Config{
		Topic:    topic,
		Interval: c.LookupdPollInterval,
		Jitter:   c.LookupdPollJitter,
		Timeout:  c.LookupdPollTimeout,
		Client:   client,
		Token:    c.lookupdToken(),
		Seed:     rand.Uint64(), // #nosec G404 -- jitter
		Publish:  publish,
	}
}

// lookupdResponses returns what nsqlookupds say about which nsqds may be dialled.
func lookupdResponses(r *discover.Result) fleet.Responses {
	said := fleet.Responses{
		Responded: r.Responded, AllFailed: r.AllFailed,
		Complete: r.Conclusive(), Pending: r.Waiting > 0, None: len(r.Lookupds) == 0,
		Listed: make([]fleet.Listing, len(r.Producers)),
	}
	for i := range r.Producers {
		said.Listed[i] = fleet.Listing{Addr: r.Producers[i].Addr, Asked: r.Producers[i].Asked}
	}
	return said
}

// tellLookedUp tells hooks of a request to an nsqlookupd.
func (h *hooks) tellLookedUp(topic string, r *discover.Request) {
	if r != nil {
		tell(h, h.lookedUp, LookupEvent{Topic: topic, Addr: r.Lookupd, Took: r.Took, NSQDs: r.Producers, Err: r.Err})
	}
}

// LookupdSnapshot is the state of an nsqlookupd.
type LookupdSnapshot struct {
	Addr         string    // its URL, without passwords and without the values of the query
	LastResponse time.Time // when its last response arrived; zero before the first
	NSQDs        int       // how many usable nsqds that response lists
	LastError    error     // of the last finished request; nil if it had a response
}

// MarshalJSON writes LastError as its text, or null.
func (s LookupdSnapshot) MarshalJSON() ([]byte, error) {
	type plain LookupdSnapshot // without this method
	return json.Marshal(struct {
		plain
		LastError *string // hides that of plain
	}{plain(s), errorText(s.LastError)})
}

func lookupdSnapshots(r *discover.Result) []LookupdSnapshot {
	states := make([]LookupdSnapshot, len(r.Lookupds))
	for i, l := range r.Lookupds {
		states[i] = LookupdSnapshot{Addr: l.Name, LastResponse: l.Responded, NSQDs: l.Producers, LastError: l.Err}
	}
	return states
}

// lookupdToken returns the bearer token for nsqlookupds, "" for none.
func (c *Config) lookupdToken() string {
	if !c.LookupdAuthorization {
		return ""
	}
	return c.AuthSecret
}

// warnOfToken logs a warning if the secret is about to cross the network unencrypted.
func (c *Config) warnOfToken(log *slog.Logger, u *url.URL) {
	if c.lookupdToken() != "" && u.Scheme == "http" {
		log.Warn("auth_secret is sent to nsqlookupd over plain http; use an https URL, or set skip_lookupd_authorization to false",
			"lookupd", u.Host)
	}
}

// recoveredText is what is logged once no nsqlookupd fails any more.
const recoveredText = "all nsqlookupds have recovered"

// lookupdLog logs a failure of an nsqlookupd once, when it begins, and not at each
// poll. When all failures are over it logs that. Calls of note must not overlap.
type lookupdLog struct {
	log     *slog.Logger
	failing map[string]bool // failures in the last result, by log text and nsqlookupd
}

func (l *lookupdLog) note(result *discover.Result) {
	failing := map[string]bool{}
	warnOnce := func(err *discover.Error, text string) {
		key := text + err.Lookupd // without the error, whose text may name another local port each time
		if !failing[key] && !l.failing[key] {
			l.log.WarnContext(repeatable{Context: context.Background(), recovery: recoveredText}, text, "lookupd", err.Lookupd, "err", err.Err)
		}
		failing[key] = true
	}
	for _, err := range result.Failed {
		warnOnce(err, "nsqlookupd failed, retrying later")
	}
	for _, err := range result.Skipped {
		warnOnce(err, "nsqlookupd lists an nsqd with an unusable address")
	}
	if len(failing) == 0 && len(l.failing) > 0 {
		l.log.InfoContext(repeating, recoveredText)
	}
	l.failing = failing
}
