package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// loss is what an action loses.
type loss struct {
	messages int64
	nsqds    int // that have the topic or channel
	clients  int // whose connections nsqd closes
}

// sentence returns what is lost. partial means that daemons have not responded.
func (l loss) sentence(partial bool) string {
	if l.nsqds == 0 {
		if partial {
			return "none of the nsqds that responded has it"
		}
		return "no nsqd has it"
	}
	least := ""
	if partial {
		least = "at least "
	}
	text := fmt.Sprintf("%s%s %s on %s will be lost", least, figures.Count(l.messages), figures.Noun(l.messages, "message"), figures.Things(l.nsqds, "nsqd"))
	if l.clients > 0 {
		text += fmt.Sprintf(", and %s will lose %s", figures.Things(l.clients, "client"), figures.Verb(l.clients, "its connection", "their connections"))
	}
	return text
}

// topicLoss is what deleting a topic loses: its messages and those of its channels.
func topicLoss(v *admin.View, n names) (loss, error) {
	l, err := topicDepthLoss(v, n)
	if t := v.Topic(n.topic); t != nil {
		for i := range t.Channels {
			l.messages += t.Channels[i].Backlog()
			l.clients += t.Channels[i].ClientCount
		}
	}
	return l, err
}

// topicDepthLoss is what emptying a topic loses: the messages that wait in it.
func topicDepthLoss(v *admin.View, n names) (l loss, _ error) {
	if t := v.Topic(n.topic); t != nil {
		l.messages, l.nsqds = t.Depth, len(t.NSQDs)
	}
	return l, nil
}

// channelBacklogLoss is what emptying a channel loses.
func channelBacklogLoss(v *admin.View, n names) (l loss, _ error) {
	if t := v.Topic(n.topic); t != nil {
		if c := t.Channel(n.channel); c != nil {
			l.messages, l.nsqds = c.Backlog(), len(c.NSQDs)
		}
	}
	return l, nil
}

// channelLoss is what deleting a channel loses.
func channelLoss(v *admin.View, n names) (loss, error) {
	l, err := channelBacklogLoss(v, n)
	if l.nsqds > 0 {
		l.clients = v.Topic(n.topic).Channel(n.channel).ClientCount
	}
	return l, err
}

// tombstoneLoss is what taking a topic away from one nsqd loses. nsqlookupds must list the
// nsqd by the address that is given.
func tombstoneLoss(v *admin.View, n names) (l loss, err error) {
	var listed []string
	for _, lookupd := range v.Lookupds {
		for _, r := range lookupd.Registered {
			if addr := r.HTTPAddr(); !slices.Contains(listed, addr) {
				listed = append(listed, addr)
			}
		}
	}
	if !slices.Contains(listed, n.nsqd) {
		return l, fmt.Errorf("the nsqlookupds do not list this nsqd; they list %s", cmp.Or(figures.List(listed), "none"))
	}
	addr := n.nsqd // by which the view names the nsqd
	for _, d := range v.NSQDs {
		if net.JoinHostPort(d.Broadcast, strconv.Itoa(d.HTTPPort)) == n.nsqd {
			addr = d.Addr
		}
	}
	t := v.Topic(n.topic)
	if t == nil {
		return l, nil
	}
	for _, on := range t.NSQDs {
		if on.NSQD == addr {
			l.messages, l.nsqds = on.Depth, 1
		}
	}
	for i := range t.Channels {
		for _, on := range t.Channels[i].NSQDs {
			if on.NSQD == addr {
				l.messages += on.Backlog()
				l.clients += on.ClientCount
			}
		}
	}
	return l, nil
}
