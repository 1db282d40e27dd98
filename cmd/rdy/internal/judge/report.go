package judge

import (
	"cmp"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// Points is how many points a History has: one for each minute of an hour.
const Points = 60

// Report is what a Judge says after a poll. It shares nothing with the Judge that changes later.
type Report struct {
	At       time.Time `json:"at"` // of the poll
	Cluster  Cluster   `json:"cluster"`
	Topics   []Topic   `json:"topics"`      // by name
	Channels []Channel `json:"channels"`    // by topic and name
	NSQDs    []NSQD    `json:"nsqds"`       // those known, by address
	Lookupds []Lookupd `json:"nsqlookupds"` // in the order of the admin.Cluster
	// Problems are all that the Judge finds, the worst first, one for each subject. What
	// began first comes first among those of a level. Resolved ones come last. Those of
	// Critical and Warning need the user.
	Problems []Problem `json:"problems"`
	// Began and Ended are the problems of Critical and Warning that this poll begins and
	// ends. There may be several of one subject.
	Began []Problem `json:"began"`
	Ended []Problem `json:"ended"`
	// Noted are the facts that this poll finds: nsqds that have Restarted, and channels that were
	// Emptied.
	Noted []Problem `json:"-"`
	// WorthClients are the channels whose clients tell more than the counts do, at most
	// maxWorth: the caller polls the clients of each, and passes them to AddClients before
	// the next Add.
	WorthClients []Name `json:"-"`
}

// Name is the name of a channel.
type Name struct{ Topic, Channel string }

// Rates is what happens to a channel, per second: the mean of the last five polls.
type Rates struct {
	In       float64 `json:"in"`
	Finished float64 `json:"finished"` // left the channel; see admin.ChannelRates
	Requeued float64 `json:"requeued"`
	TimedOut float64 `json:"timed_out"`
	Growth   float64 `json:"growth"` // of the backlog
}

// RequeuedShare returns the share of deliveries that clients requeue, from 0 to 1.
func (r *Rates) RequeuedShare() float64 { return r.share(r.Requeued) }

// TimedOutShare returns the share of deliveries that time out, from 0 to 1.
func (r *Rates) TimedOutShare() float64 { return r.share(r.TimedOut) }

func (r *Rates) share(part float64) float64 {
	if part <= 0 {
		return 0
	}
	return part / (r.Finished + r.Requeued + r.TimedOut)
}

// Cluster has the sums of all channels.
type Cluster struct {
	Waiting   int64   `json:"waiting"`   // depth of all channels
	Growth    float64 `json:"growth"`    // In minus Finished
	In        float64 `json:"in"`        // to all channels, per second
	Finished  float64 `json:"finished"`  // per second
	Published float64 `json:"published"` // to all topics, per second
	Clients   int     `json:"clients"`   // connections that have subscribed
	// RatesKnown is false until the second poll, and where the Rates of a channel are not known
	// because an nsqd has restarted. A channel that is new is not in the sums.
	RatesKnown bool `json:"rates_known"`
	// Lower means that a daemon is missing from the figures: they may be higher.
	Lower         bool `json:"lower_bound"`
	NSQDs         int  `json:"nsqds"`       // that responded
	KnownNSQDs    int  `json:"known_nsqds"` // with those that vanished within the last hour
	Lookupds      int  `json:"nsqlookupds"` // that responded
	KnownLookupds int  `json:"known_nsqlookupds"`
	// ChannelsNeedYou is how many channels have a problem of Critical or Warning, and
	// DaemonsNeedYou how many other subjects have one.
	ChannelsNeedYou int `json:"channels_need_you"`
	DaemonsNeedYou  int `json:"daemons_need_you"`
}

// Topic is a topic with the sums of its channels.
type Topic struct {
	Name string `json:"topic"`
	admin.TopicCounts
	Channels  int     `json:"channels"`
	Waiting   int64   `json:"waiting"` // depth of its channels
	Clients   int     `json:"clients"`
	Published float64 `json:"published"` // per second
	Bytes     float64 `json:"bytes_per_second"`
	In        float64 `json:"in"` // to its channels
	Finished  float64 `json:"finished"`
	// RatesKnown is false until each nsqd of the topic has responded twice in a row.
	RatesKnown bool  `json:"rates_known"`
	Lower      bool  `json:"lower_bound"`
	State      State `json:"state"` // the worst of its channels
	Level      Level `json:"level"`
}

// Channel is a channel with the sums over its nsqds.
type Channel struct {
	Topic string `json:"topic"`
	Name  string `json:"channel"`
	admin.ChannelCounts
	Rates *Rates    `json:"rates,omitempty"` // nil: not known
	Drain Drain     `json:"drain"`
	State State     `json:"state"` // empty if nothing is wrong
	Level Level     `json:"level"`
	Since time.Time `json:"since,omitzero"` // of State
	// Lower means that an nsqd is missing that has the channel, or may have it.
	Lower bool `json:"lower_bound"`
	// Skew is the depth of the deepest nsqd, divided by the mean of the others, or by 1 if that
	// is less. It is 0 if less than two nsqds ever had a message.
	Skew    float64           `json:"skew"`
	NSQDs   []admin.ChannelOn `json:"nsqds"`
	History History           `json:"history"`
	// Clients are the programs that have subscribed, one for each client id and host. They
	// are nil unless AddClients was called in the last half minute.
	Clients []Client `json:"clients,omitempty"`
}

// Growing reports whether the channel has clients and the backlog grows all the same, or has no
// clients and messages come in.
func (c *Channel) Growing() bool {
	return c.Drain.Kind == DrainsNever || c.Drain.Kind == NoClients && c.Rates != nil && c.Rates.In > 0
}

// History is a channel's last hour by minute, the oldest first. The last point is the minute
// that has begun. A point is -1 if it is not known.
type History struct {
	Depth    []int64   `json:"depth"`    // the highest of the minute
	Finished []float64 `json:"finished"` // per second, the mean of the minute
	In       []float64 `json:"in"`
}

// Client is a program that has subscribed to a channel, perhaps with several connections.
type Client struct {
	ID         string    `json:"client_id"`
	Hostname   string    `json:"hostname"`
	UserAgent  string    `json:"user_agent"`
	Connected  time.Time `json:"connected"` // the oldest of its connections
	InFlight   int64     `json:"in_flight"`
	RDY        int64     `json:"rdy"`
	Finished   float64   `json:"finished"` // per second
	Requeued   float64   `json:"requeued"`
	RatesKnown bool      `json:"rates_known"`
	// LastFinished is when it was last seen to finish a message, zero if it was not.
	LastFinished time.Time      `json:"last_finished,omitzero"`
	State        State          `json:"state"`
	Level        Level          `json:"level"`
	Connections  []admin.Client `json:"connections"`
}

// NSQD is an nsqd that was seen in the last hour.
type NSQD struct {
	admin.NSQD
	Up bool `json:"up"`
	// Seen is when it responded last, zero if it never did.
	Seen time.Time `json:"seen,omitzero"`
	// Messages is how many messages it held then, in topics and channels.
	Messages int64 `json:"messages"`
	State    State `json:"state"`
	Level    Level `json:"level"`
}

// Lookupd is an nsqlookupd.
type Lookupd struct {
	Addr  string    `json:"addr"`
	Up    bool      `json:"up"`
	Seen  time.Time `json:"seen,omitzero"`
	Error string    `json:"error,omitempty"`
	NSQDs int       `json:"nsqds"` // registered, when it responded last
}

// Worse orders channels: the worst level first, then the deepest, then by name.
func Worse(a, b *Channel) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(b.Depth, a.Depth), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Name, b.Name))
}
