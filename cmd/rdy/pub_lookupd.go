package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// awaitListed returns the addresses for clients of the nsqds that the nsqlookupds list. With
// --mode all these have to be all, so it waits until each nsqlookupd responds. It gives up
// after --retry-for.
func (p *pub) awaitListed(ctx context.Context) ([]string, error) {
	c := &admin.Cluster{
		Lookupds: p.lookupds,
		Client:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: defaultRequestTimeout},
	}
	start := time.Now()
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for told := false; ; told = true {
		addrs, err := listedNSQDs(ctx, c)
		switch {
		case len(addrs) > 0 && (err == nil || p.mode == modeFailover):
			return addrs, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case time.Since(start) >= p.retryFor:
			return nil, err
		case !told:
			p.notice("rdy: retrying for up to %v: %s", p.retryFor, oneLine(err))
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// listedNSQDs returns the addresses for clients of the nsqds that nsqlookupds list. There is an
// error if there is none, or if one of the nsqlookupds does not respond.
func listedNSQDs(ctx context.Context, c *admin.Cluster) (addrs []string, err error) {
	v, _ := c.Poll(ctx) // whether the HTTP APIs of the nsqds respond does not matter
	for _, l := range v.Lookupds {
		if l.Error != "" {
			err = errors.Join(err, fmt.Errorf("nsqlookupd %s", l.Error)) // which begins with the address
		}
		for _, r := range l.Registered {
			addrs = append(addrs, r.TCPAddr())
		}
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	if err == nil && len(addrs) == 0 {
		err = errors.New("the nsqlookupds list no nsqd")
	}
	return addrs, err
}
