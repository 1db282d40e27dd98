package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// endlessError says that copies would be read and copied again.
type endlessError struct {
	topic, to string // of the messages and of their copies
	addr      string // of the nsqd that would have both
}

func (e *endlessError) Error() string {
	if e.topic == e.to {
		return fmt.Sprintf("copying topic %s to %s, where it comes from, would never end", e.topic, e.addr)
	}
	return fmt.Sprintf("copying topic %s to topic %s on %s would never end: that topic is copied as well", e.topic, e.to, e.addr)
}

// loopLookup is how long resolving a host may take. An nsqd whose host cannot be resolved is
// taken for another one.
const loopLookup = 2 * time.Second

// loopGuard finds out whether nsqds that messages come from get copies.
type loopGuard struct {
	lookup func(ctx context.Context, host string) ([]string, error) // nil means the system's
	apart  sync.Map                                                 // pairs of addresses that are not the same nsqd
}

// checkLoop returns an error if a message comes from an nsqd that gets copies.
func (t *topicCopier) checkLoop(batch []held) error {
	var before string
	for _, m := range batch {
		if m.NSQDAddress == before {
			continue
		}
		before = m.NSQDAddress
		for _, pool := range t.targets {
			for _, member := range pool.Snapshot() {
				if t.guard.same(t.working, before, member.Addr) {
					return &endlessError{t.topic, t.to, "nsqd " + before}
				}
			}
		}
	}
	return nil
}

// same reports whether two addresses are surely those of one nsqd.
func (g *loopGuard) same(ctx context.Context, a, b string) bool {
	pair := [2]string{a, b}
	if _, known := g.apart.Load(pair); known {
		return false
	}
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	if portA == portB && (hostA == hostB || g.shareIP(ctx, hostA, hostB)) {
		return true
	}
	g.apart.Store(pair, true)
	return false
}

func (g *loopGuard) shareIP(ctx context.Context, a, b string) bool {
	ctx, cancel := context.WithTimeout(ctx, loopLookup)
	defer cancel()
	lookup := g.lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	of, err := lookup(ctx, a)
	others, err2 := lookup(ctx, b)
	return cmp.Or(err, err2) == nil && slices.ContainsFunc(of, func(ip string) bool { return slices.Contains(others, ip) })
}
