package publishing

import (
	"testing"

	"github.com/rdyhq/nsq/internal/wire"
)

func (v Verdict) String() string {
	return [...]string{
		"final", "content", "store failed", "not sent", "lost", "lost behind", "stored in part", "unknown",
	}[v]
}

// The verdicts that follow from each error reply of nsqd: on the publish that it replies
// to, on a later one that was sent before the connection ended, and on one that was not.
func TestVerdicts(t *testing.T) {
	for said, want := range map[string][3]Verdict{
		"E_INVALID DPUB timeout 2 out of range 0-1":     {Final, LostBehind, LostBehind},
		"E_BAD_TOPIC PUB topic name \"a b\" is no good": {Final, LostBehind, LostBehind},
		"E_BAD_BODY MPUB body too big 6 > 5":            {Content, LostBehind, LostBehind},
		"E_BAD_MESSAGE PUB message too big 6 > 5":       {Content, LostBehind, LostBehind},
		"E_BAD_MESSAGE":                                  {Content, LostBehind, LostBehind},
		"E_AUTH_FIRST AUTH required before PUB":          {Final, LostBehind, LostBehind},
		"E_AUTH_FAILED AUTH failed":                      {Final, LostBehind, LostBehind},
		"E_UNAUTHORIZED AUTH failed for PUB on \"t\"":    {Final, LostBehind, LostBehind},
		"E_PUB_FAILED PUB failed exiting":                {StoreFailed, Lost, Lost},
		"E_PUB_FAILED":                                   {StoreFailed, Lost, Lost},
		"E_DPUB_FAILED DPUB failed disk is full":         {StoreFailed, Lost, Lost},
		"E_MPUB_FAILED MPUB failed exiting":              {StoredInPart, Lost, Lost},
		"E_MPUB_FAILED MPUB failed disk is full":         {StoredInPart, Lost, Lost},
		"E_MPUB_FAILED":                                  {StoredInPart, Lost, Lost},
		"E_SOMETHING_NEW of which nothing is known":      {Final, Unknown, LostBehind},
		"E_SOMETHING_NEW MPUB failed exiting":            {Final, Unknown, LostBehind},
		"":                                               {Final, Unknown, LostBehind},
		"E_FIN_FAILED after which nsqd does not hang up": {Final, Unknown, LostBehind},
	} {
		e := wire.ParseError([]byte(said))
		if got := [3]Verdict{OfRefusal(e), OfLoss(true, e), OfLoss(false, e)}; got != want {
			t.Errorf("%q: %v, want %v", said, got, want)
		}
	}
	if got := OfLoss(true, nil); got != Unknown {
		t.Errorf("sent, and the connection just ended: %v", got)
	}
	if got := OfLoss(false, nil); got != Lost {
		t.Errorf("not sent, and the connection just ended: %v", got)
	}
}

// What a pack's refusal means for each publish in it: the verdict, and nsqd's error as it
// would be for a PUB.
func TestPackVerdicts(t *testing.T) {
	for said, want := range map[string]struct {
		verdict Verdict
		single  string
	}{
		"E_INVALID invalid command \"MPUB\"":                 {LostBehind, "E_INVALID invalid command \"PUB\""},
		"E_BAD_TOPIC E_BAD_TOPIC MPUB topic name \"MPUB\"":   {LostBehind, "E_BAD_TOPIC E_BAD_TOPIC PUB topic name \"MPUB\""},
		"E_BAD_BODY MPUB body too big 6 > 5":                 {LostBehind, "E_BAD_BODY PUB body too big 6 > 5"},
		"E_BAD_MESSAGE MPUB message too big 6 > 5":           {LostBehind, "E_BAD_MESSAGE PUB message too big 6 > 5"},
		"E_AUTH_FIRST AUTH required before MPUB":             {Final, "E_AUTH_FIRST AUTH required before PUB"},
		"E_AUTH_FAILED AUTH failed":                          {Final, "E_AUTH_FAILED AUTH failed"},
		"E_UNAUTHORIZED AUTH failed for MPUB on \"MPUB\" \"": {Final, "E_UNAUTHORIZED AUTH failed for PUB on \"MPUB\" \""},
		"E_MPUB_FAILED MPUB failed exiting":                  {StoredInPart, "E_PUB_FAILED PUB failed exiting"},
		"E_MPUB_FAILED":                                      {StoredInPart, "E_PUB_FAILED"},
		"E_SOMETHING_NEW of which nothing is known":          {Final, "E_SOMETHING_NEW of which nothing is known"},
		"": {Final, ""},
	} {
		e := wire.ParseError([]byte(said))
		if verdict, single := OfPack(e), AsSingle(e).Text(); verdict != want.verdict || single != want.single {
			t.Errorf("%q: %v, %q, want %v, %q", said, verdict, single, want.verdict, want.single)
		}
	}
}

// What each verdict says: whether the message may be stored, and whether to try another
// nsqd or another connection.
func TestConsequences(t *testing.T) {
	for v, want := range map[Verdict]string{
		Final:        "",
		Content:      "",
		StoreFailed:  " other",
		NotSent:      " other",
		Lost:         " other again",
		LostBehind:   " other again",
		StoredInPart: " stored?",
		Unknown:      " stored?",
	} {
		got := ""
		if v.MayBeStored() {
			got += " stored?"
		}
		if v.RetryOnOther() {
			got += " other"
		}
		if new(Losses).Retry(v) {
			got += " again"
		}
		if got != want {
			t.Errorf("%v:%s, want%s", v, got, want)
		}
	}
}

// A publish is tried again after one Lost and after ten LostBehind, in any order.
func TestLosses(t *testing.T) {
	for _, tt := range []struct {
		first string // the first verdicts: l is Lost, b is LostBehind
		want  int    // number of retries
	}{
		{"l", 1},
		{"b", 10},
		{"lb", 11},
		{"bl", 11},
		{"bblb", 11},
	} {
		var l Losses
		got := 0
		for i := 0; i < 100; i++ {
			v := LostBehind // once first is used up, until there is no retry
			if i < len(tt.first) && tt.first[i] == 'l' || tt.first == "l" {
				v = Lost
			}
			if !l.Retry(v) {
				break
			}
			got++
		}
		if got != tt.want {
			t.Errorf("%s: %d retries, want %d", tt.first, got, tt.want)
		}
	}
	var l Losses
	if !l.Retry(LostBehind) || !l.Retry(Lost) || l.Retry(Lost) {
		t.Error("Lost was retried other than once")
	}
}
