package judge

import (
	"encoding/json"
	"math"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// DrainKind says whether a channel drains, and if not, why.
type DrainKind string

// The kinds.
const (
	DrainUnknown DrainKind = "unknown"
	DrainsEmpty  DrainKind = "empty" // there is nothing in it
	DrainPaused  DrainKind = "paused"
	NoClients    DrainKind = "no clients"
	KeepsUp      DrainKind = "keeps up" // no more waits than in any channel at work
	DrainsNever  DrainKind = "never"    // no less comes in than is finished
	DrainsLate   DrainKind = "> 30 d"
	DrainsIn     DrainKind = "drains" // after Drain.Time
)

// longestDrain is the longest time that an estimate is worth telling.
const longestDrain = 30 * 24 * time.Hour

// Drain is when a channel is empty, if all goes on as it does.
type Drain struct {
	Kind DrainKind
	Time time.Duration // of DrainsIn, else 0
}

// few returns how many messages wait in a channel that keeps up: an estimate for those would
// flicker.
func few(in float64) int64 { return max(10, int64(2*in)) }

// DrainOf returns when a channel is empty that gets and finishes this many messages per second.
func DrainOf(c admin.ChannelCounts, in, finished float64) Drain {
	switch {
	case c.Backlog() == 0:
		return Drain{Kind: DrainsEmpty}
	case c.Paused:
		return Drain{Kind: DrainPaused}
	case c.ClientCount == 0:
		return Drain{Kind: NoClients}
	case c.Depth <= few(in):
		return Drain{Kind: KeepsUp}
	case finished <= in:
		return Drain{Kind: DrainsNever}
	}
	seconds := float64(c.Backlog()) / (finished - in)
	if seconds > longestDrain.Seconds() {
		return Drain{Kind: DrainsLate}
	}
	return Drain{Kind: DrainsIn, Time: time.Duration(seconds * float64(time.Second))}
}

// drainWithoutRates returns what the counts tell alone.
func drainWithoutRates(c admin.ChannelCounts) Drain {
	d := DrainOf(c, 0, 0)
	if d.Kind == DrainsNever || d.Kind == KeepsUp {
		return Drain{Kind: DrainUnknown}
	}
	return d
}

// String returns the time, or the reason why there is none. It is "–" if nothing is known.
func (d Drain) String() string {
	switch d.Kind {
	case DrainsIn:
		return figures.Duration(d.Time)
	case DrainUnknown, "":
		return "–"
	}
	return string(d.Kind)
}

// drainJSON is a Drain as JSON.
type drainJSON struct {
	Kind    DrainKind `json:"kind"`
	Seconds float64   `json:"seconds,omitempty"`
}

// MarshalJSON returns the kind and the seconds.
func (d Drain) MarshalJSON() ([]byte, error) {
	return json.Marshal(drainJSON{d.Kind, d.Time.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON returns.
func (d *Drain) UnmarshalJSON(text []byte) error {
	var j drainJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	// Rounded: the seconds of 539.933333333 s are a little less as a float64.
	*d = Drain{j.Kind, time.Duration(math.Round(j.Seconds * float64(time.Second)))}
	return nil
}
