package admin_test

import (
	"errors"
	"net/http"

	"github.com/rdyhq/nsq/admin"
)

// recorded returns a Cluster of two nsqlookupds, of which the second does not respond, and an
// nsqd. The responses were recorded.
func recorded() *admin.Cluster {
	return &admin.Cluster{
		Lookupds: []string{"lookupd-1:4161", "lookupd-2:4161"},
		Client:   &http.Client{Transport: recordings{http.NewFileTransport(http.Dir("testdata"))}},
	}
}

type recordings struct{ files http.RoundTripper }

func (r recordings) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == "lookupd-2:4161" {
		return nil, errors.New("connection refused")
	}
	file := request.Clone(request.Context())
	file.URL.Path += "-1.3.0.json"
	return r.files.RoundTrip(file)
}
