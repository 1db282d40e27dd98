package nsq

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"

	"github.com/rdyhq/nsq/internal/discover"
)

// discovery is how nsqlookupds are asked for a topic's nsqds, or without a topic
// for all. The client may be nil.
func (c *Config) discovery(topic string, client *http.Client, publish func(discover.Result)) discover.Config {
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

// lookupdToken is what nsqlookupds are sent to prove who asks.
func (c *Config) lookupdToken() string {
	if !c.LookupdAuthorization {
		return ""
	}
	return c.AuthSecret
}

// warnOfToken says that the secret can be read on its way.
func (c *Config) warnOfToken(log *slog.Logger, u *url.URL) {
	if c.lookupdToken() != "" && u.Scheme == "http" {
		log.Warn("auth_secret is sent to nsqlookupd over plain http; use an https URL, or set skip_lookupd_authorization to false",
			"lookupd", u.Host)
	}
}

// lookupdLog says once of each failure of an nsqlookupd that there is one, and
// when there is none any more.
type lookupdLog struct {
	log     *slog.Logger
	failing map[string]bool
}

func (l *lookupdLog) note(result *discover.Result) {
	failing := map[string]bool{}
	note := func(err *discover.Error, text string) {
		key := text + err.Lookupd // errors may differ each time, in a port
		if !failing[key] && !l.failing[key] {
			l.log.Warn(text, "lookupd", err.Lookupd, "err", err.Err)
		}
		failing[key] = true
	}
	for _, err := range result.Failed {
		note(err, "nsqlookupd failed, asking again later")
	}
	for _, err := range result.Skipped {
		note(err, "nsqlookupd lists an nsqd that cannot be dialled")
	}
	if len(failing) == 0 && len(l.failing) > 0 {
		l.log.Info("all nsqlookupds answer well again")
	}
	l.failing = failing
}
