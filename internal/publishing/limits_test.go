package publishing

import (
	"testing"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
)

// What nsqd's refusals teach: the limits that are sure from then on, and what is refused
// on its behalf, and for how long.
func TestLimits(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	all := Figures{Message: 1 << 30, Body: 1 << 30, Delay: 1000 * time.Hour}
	for said, want := range map[string]struct {
		sure    Figures
		refusal string
	}{
		"E_BAD_MESSAGE PUB message too big 2000 > 1000": {
			Figures{1000, 5 << 20, time.Hour}, "E_BAD_MESSAGE X message too big 1073741824 > 1000"},
		"E_BAD_MESSAGE MPUB message too big 2000 > 1000": {
			Figures{1000, 5 << 20, time.Hour}, "E_BAD_MESSAGE X message too big 1073741824 > 1000"},
		"E_BAD_MESSAGE PUB message too big 9000000 > 8000000": {
			Figures{1 << 20, 5 << 20, time.Hour}, "E_BAD_MESSAGE X message too big 1073741824 > 8000000"},
		"E_BAD_BODY MPUB body too big 7 > 6": {
			Figures{1 << 20, 6, time.Hour}, "E_BAD_BODY X body too big 1073741824 > 6"},
		"E_INVALID DPUB timeout 7200000 out of range 0-60000": {
			Figures{1 << 20, 5 << 20, time.Minute}, "E_INVALID X timeout 3600000000 out of range 0-60000"},
		"E_BAD_MESSAGE PUB message too big 2 > 1": {
			Figures{1, 5 << 20, time.Hour}, "E_BAD_MESSAGE X message too big 1073741824 > 1"},
		"E_BAD_BODY MPUB body too big 2 > 1": {
			Figures{1 << 20, 1, time.Hour}, "E_BAD_BODY X body too big 1073741824 > 1"},
		"E_INVALID DPUB timeout 2 out of range 0-1": {
			Figures{1 << 20, 5 << 20, time.Millisecond}, "E_INVALID X timeout 3600000000 out of range 0-1"},
		"E_BAD_MESSAGE PUB invalid message body size 0":   {DefaultLimits, ""},
		"E_BAD_MESSAGE PUB message too big 2000 > 1000 B": {DefaultLimits, ""},
		"E_BAD_MESSAGE PUB message too big 2000 > -5":     {DefaultLimits, ""},
		"E_BAD_BODY MPUB invalid message count 7":         {DefaultLimits, ""},
		"E_INVALID DPUB could not parse timeout -1":       {DefaultLimits, ""},
		"E_PUB_FAILED PUB message too big 2000 > 1000":    {DefaultLimits, ""},
		"E_MPUB_FAILED MPUB body too big 7 > 6":           {DefaultLimits, ""},
		"E_BAD_BODY MPUB message count 7 > 6":             {DefaultLimits, ""},
		"E_DPUB_FAILED DPUB timeout 2 out of range 0-1":   {DefaultLimits, ""},
		"E_INVALID RDY count 2501 out of range 0-2500":    {DefaultLimits, ""},
		"E_BAD_MESSAGE": {DefaultLimits, ""},
	} {
		var l Limits
		l.Learn(start, wire.ParseError([]byte(said)))
		if got := l.Sure(); got != want.sure {
			t.Errorf("%q: %+v is sure, want %+v", said, got, want.sure)
		}
		refusal := func(after time.Duration, w Figures) string {
			if e := l.Refusal(start.Add(after), "X", w); e != nil {
				return e.Error()
			}
			return ""
		}
		if got := refusal(limitMemory-1, all); got != want.refusal {
			t.Errorf("%q: refuses with %q, want %q", said, got, want.refusal)
		}
		if got := refusal(0, want.sure); got != "" {
			t.Errorf("%q: refuses what is sure with %q", said, got)
		}
		if got := refusal(limitMemory, all); got != "" {
			t.Errorf("%q: still refuses with %q after a minute", said, got)
		}
		l.Doubt()
		if got := refusal(0, all); got != "" || l.Sure() != want.sure {
			t.Errorf("%q: in doubt it refuses with %q, and %+v is sure", said, got, l.Sure())
		}
	}
}

// For a minute after nsqd has refused a pack, even if it may have restarted, there is none.
func TestRefusedPacks(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var l Limits
	if l.PacksRefused(now) {
		t.Error("refused without a refusal")
	}
	for range 2 {
		l.RefusePacks(now)
		l.Doubt()
		if !l.PacksRefused(now) || !l.PacksRefused(now.Add(limitMemory-1)) || l.PacksRefused(now.Add(limitMemory)) {
			t.Error("not refused for a minute")
		}
		now = now.Add(limitMemory / 2)
	}
}

func TestFigures(t *testing.T) {
	limits := Figures{Message: 3, Body: 4, Delay: 5}
	for w, want := range map[Figures]bool{
		{}:        true,
		{3, 4, 5}: true,
		{4, 0, 0}: false,
		{0, 5, 0}: false,
		{0, 0, 6}: false,
	} {
		if got := w.Within(limits); got != want {
			t.Errorf("%+v: %t", w, got)
		}
	}
	if got := limits.Max(Figures{4, 3, 9}); got != (Figures{4, 4, 9}) {
		t.Errorf("%+v", got)
	}
}
