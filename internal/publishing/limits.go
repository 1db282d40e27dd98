package publishing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// Figures are what nsqd compares with its limits before it has read all of a publish.
type Figures struct {
	Message int64         // bytes of the largest body
	Body    int64         // bytes of the body of an MPUB; 0 of other commands
	Delay   time.Duration // of a DPUB
}

// DefaultLimits are nsqd's limits unless its operator sets others: max-msg-size,
// max-body-size and max-req-timeout.
var DefaultLimits = Figures{Message: 1 << 20, Body: 5 << 20, Delay: time.Hour}

// Within reports whether nothing of f exceeds limits.
func (f Figures) Within(limits Figures) bool {
	return f.Message <= limits.Message && f.Body <= limits.Body && f.Delay <= limits.Delay
}

// Max returns the greater of each figure.
func (f Figures) Max(other Figures) Figures {
	return Figures{max(f.Message, other.Message), max(f.Body, other.Body), max(f.Delay, other.Delay)}
}

// limitMemory is how long a limit that nsqd has named is believed. Only refusals tell what
// nsqd's limits are, so one that was restarted with a higher limit is tried again after
// that time at the latest.
const limitMemory = time.Minute

// Limits remembers which limits an nsqd has named in its refusals. The zero value
// remembers nothing.
type Limits struct {
	message, body, delay namedLimit
	unpacked             time.Time // until then publishes are not packed
}

// namedLimit is one limit; zero if nsqd has not named it. What exceeds it is refused until
// a time. After that nsqd still may have the limit: see Sure.
type namedLimit struct {
	limit int64 // bytes, or milliseconds
	until time.Time
}

// Sure returns the limits within which a publish is taken for safe: nsqd's defaults, or
// those that it has named if they are lower.
func (l *Limits) Sure() Figures {
	sure := DefaultLimits
	if l.message.limit > 0 {
		sure.Message = min(sure.Message, l.message.limit)
	}
	if l.body.limit > 0 {
		sure.Body = min(sure.Body, l.body.limit)
	}
	if l.delay.limit > 0 {
		sure.Delay = min(sure.Delay, time.Duration(l.delay.limit)*time.Millisecond)
	}
	return sure
}

// Learn notes the limit that a refusal names, if it names one. nsqd 1.3.0 says
//
//	E_BAD_MESSAGE PUB message too big 1048577 > 1048576
//	E_BAD_BODY MPUB body too big 5242881 > 5242880
//	E_INVALID DPUB timeout 3600001 out of range 0-3600000
func (l *Limits) Learn(now time.Time, e *wire.Error) {
	_, desc, _ := strings.Cut(e.Desc, " ") // without the command
	named, marker := (*namedLimit)(nil), " > "
	switch {
	case e.Code == wire.BadMessage && strings.HasPrefix(desc, "message too big "):
		named = &l.message
	case e.Code == wire.BadBody && strings.HasPrefix(desc, "body too big "):
		named = &l.body
	case e.Code == wire.Invalid && strings.HasPrefix(desc, "timeout "):
		named, marker = &l.delay, " out of range 0-"
	default:
		return
	}
	_, figure, _ := strings.Cut(desc, marker)
	if limit, err := strconv.ParseInt(figure, 10, 64); err == nil && limit > 0 {
		*named = namedLimit{limit: limit, until: now.Add(limitMemory)}
	}
}

// RefusePacks notes that nsqd has refused an MPUB that publishes were packed into. For a
// minute they are sent singly, so that nsqd's replies say what becomes of each.
func (l *Limits) RefusePacks(now time.Time) { l.unpacked = now.Add(limitMemory) }

// PacksRefused reports whether publishes are to be sent singly.
func (l *Limits) PacksRefused(now time.Time) bool { return now.Before(l.unpacked) }

// Doubt makes Refusal return nil until nsqd names a limit again. Call it when nsqd may
// have restarted with higher limits.
func (l *Limits) Doubt() {
	for _, named := range []*namedLimit{&l.message, &l.body, &l.delay} {
		named.until = time.Time{}
	}
}

// Refusal returns what nsqd would reply to a command, or nil if nsqd has named no limit
// lately that the command exceeds.
func (l *Limits) Refusal(now time.Time, command string, f Figures) *wire.Error {
	switch {
	case l.delay.exceeded(now, f.Delay.Milliseconds()):
		return &wire.Error{Code: wire.Invalid,
			Desc: fmt.Sprintf("%s timeout %d out of range 0-%d", command, f.Delay.Milliseconds(), l.delay.limit)}
	case l.body.exceeded(now, f.Body):
		return &wire.Error{Code: wire.BadBody, Desc: fmt.Sprintf("%s body too big %d > %d", command, f.Body, l.body.limit)}
	case l.message.exceeded(now, f.Message):
		return &wire.Error{Code: wire.BadMessage,
			Desc: fmt.Sprintf("%s message too big %d > %d", command, f.Message, l.message.limit)}
	}
	return nil
}

func (n namedLimit) exceeded(now time.Time, figure int64) bool {
	return figure > n.limit && now.Before(n.until)
}
