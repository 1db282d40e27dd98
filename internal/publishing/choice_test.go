package publishing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// member is an nsqd for tests.
type member struct {
	name      string
	unhealthy bool
	owes      int
	looks     int // calls of Healthy
}

func (m *member) Healthy() bool { m.looks++; return !m.unhealthy }
func (m *member) Owes() int     { return m.owes }

// pool is members with a turn, as a ProducerPool has them.
type pool struct {
	members []*member
	turn    int
	news    uint64
}

// newPool reads members like "a b- c", of which b is unhealthy.
func newPool(names string) *pool {
	p := &pool{}
	for name := range strings.FieldsSeq(names) {
		name, unhealthy := strings.CutSuffix(name, "-")
		p.members = append(p.members, &member{name: name, unhealthy: unhealthy})
	}
	return p
}

func (p *pool) find(name string) *member {
	i := slices.IndexFunc(p.members, func(m *member) bool { return m.name == name })
	return p.members[i]
}

// next returns the member to try next, nil if there is none, and uses up its turn.
func (p *pool) next(t *Tries[*member]) *member {
	i, ok := t.Next(p.members, p.turn, p.news)
	if !ok {
		return nil
	}
	p.turn = i + 1
	return p.members[i]
}

var errDown = errors.New("down")

// play carries out the words of a script, and returns what next and look found:
//
//	next     try the next member; it fails, so that another may be tried
//	look     call Look
//	anew     begin another publish
//	b- b+    b becomes unhealthy, healthy
//	b=2      b owes two replies
//	+d -d    d joins, leaves
func play(p *pool, script string) string {
	t := &Tries[*member]{}
	var out []string
	for word := range strings.FieldsSeq(script) {
		name := strings.Trim(word, "+-")
		switch {
		case word == "next":
			m := p.next(t)
			if m == nil {
				out = append(out, "none")
				continue
			}
			t.Failed(m, errDown, NotSent, false)
			out = append(out, m.name)
		case word == "look":
			ready, all := t.Look(p.members)
			out = append(out, strings.Trim(fmt.Sprintf("%s-%s",
				map[bool]string{true: "ready"}[ready], map[bool]string{true: "all"}[all]), "-"))
		case word == "anew":
			t = &Tries[*member]{}
		case word[0] == '+':
			p.members = append(p.members, &member{name: name})
			p.news++
		case word[0] == '-':
			p.members = slices.DeleteFunc(p.members, func(m *member) bool { return m.name == name })
		case strings.Contains(word, "="):
			p.find(word[:1]).owes = int(word[2] - '0')
		default:
			p.find(name).unhealthy = word[len(word)-1] == '-'
			if word[len(word)-1] == '+' {
				p.news++
			}
		}
	}
	return strings.Join(out, " ")
}

func TestChoice(t *testing.T) {
	for _, tt := range []struct{ name, members, script, want string }{
		{"turns", "a b c", "next anew next anew next anew next", "a b c a"},
		{"failover goes round", "a b c", "next next next next", "a b c none"},
		{"each member that is tried uses up its turn", "a b c", "next next anew next", "a b c"},
		{"the unhealthy are passed over", "a b- c", "next anew next anew next", "a c a"},
		{"the unhealthy come last", "a- b c-", "next next next next", "b c a none"},
		{"all unhealthy: by turns", "a- b- c-", "next anew next anew next anew next", "a b c a"},
		{"no members", "", "next look", "none "},
		{"untried: no look needed", "a b", "next look next", "a ready b"},
		{"all tried, none healthy", "a b", "next next a- b- look next", "a b all none"},
		{"all tried, one healthy again", "a b", "next next a- look next next", "a b ready-all b b"},
		{"one recovers later", "a b", "next next a- b- look b+ look next", "a b all ready-all b"},
		{"again only the healthy", "a b c", "next next next a- c- look next next", "a b c ready-all b b"},
		{"one joins: it is tried, then all were", "a b", "next next a- b- look +c look next next look", "a b all ready c none ready-all"},
		{"all leave, one joins", "a", "next -a look next +b look next", "a  none ready b"},
		{"one leaves before its turn", "a b c", "next -b next anew next", "a c a"},
		{"owing replies costs no turn if others owe as many", "a b", "a=1 b=1 next anew next anew next", "a b a"},
		{"who owes more is left out", "a b", "b=1 next anew next anew next", "a a a"},
		{"an even load is given in turn", "a b c", "a=2 b=2 c=2 next anew next anew next", "a b c"},
		{"the next healthy one is compared", "a b- c d", "a=2 c=3 next anew a=3 c=2 next anew next", "a d c"},
		{"fewer replies owed comes before the turn", "a b- c", "a=2 c=1 next anew next", "c c"},
		{"health comes before what is owed", "a b-", "a=9 next anew next", "a a"},
		{"one that owes is tried all the same", "a b", "a=9 next next next", "b a none"},
		{"again: the healthy one that owes fewer", "a b c", "next next next look a=2 b=1 next", "a b c ready-all b"},
		{"again: one that owes, none else is healthy", "a b", "next next b- look a=2 next", "a b ready-all a"},
		{"the turn is beyond the end", "a b c", "next next next -c anew next", "a b c b"},
	} {
		if got := play(newPool(tt.members), tt.script); got != tt.want {
			t.Errorf("%s: %q: %q, want %q", tt.name, tt.script, got, tt.want)
		}
	}
}

// Failed records the error of each try, and reports whether to try another nsqd.
func TestTriesRemember(t *testing.T) {
	p := newPool("a b c d")
	a, b, c, d := p.members[0], p.members[1], p.members[2], p.members[3]
	e := func(i int) error { return fmt.Errorf("error %d", i) }
	t1, t2 := &Tries[*member]{}, &Tries[*member]{}
	for _, tt := range []struct {
		t          *Tries[*member]
		at         *member
		err        error
		v          Verdict
		duplicates bool
		retry      bool
		errs       string
		unknown    string
		refused    string
	}{
		{t1, a, e(1), NotSent, false, true, "[error 1]", "<nil>", "<nil>"},
		{t1, b, e(2), StoreFailed, false, true, "[error 1 error 2]", "<nil>", "<nil>"},
		{t1, a, e(3), Lost, false, true, "[error 3 error 2]", "<nil>", "<nil>"},
		{t1, c, e(4), Unknown, true, true, "[error 3 error 2]", "error 4", "<nil>"},
		{t1, b, e(5), StoredInPart, true, true, "[error 3]", "error 5", "<nil>"},
		{t1, d, e(6), Content, true, false, "[error 3]", "error 5", "error 6"},
		{t2, a, e(1), LostBehind, true, true, "[error 1]", "<nil>", "<nil>"},
		{t2, b, e(2), Unknown, false, false, "[error 1]", "error 2", "<nil>"},
		{t2, c, e(3), Final, false, false, "[error 1]", "error 2", "error 3"},
	} {
		retry := tt.t.Failed(tt.at, tt.err, tt.v, tt.duplicates)
		errs := fmt.Sprint(tt.t.Errors())
		if retry != tt.retry || errs != tt.errs || fmt.Sprint(tt.t.Unknown) != tt.unknown || fmt.Sprint(tt.t.Refused) != tt.refused {
			t.Errorf("%s: %v, %v: retry %v, errors %s, unknown %v, refused %v; want %+v",
				tt.at.name, tt.err, tt.v, retry, errs, tt.t.Unknown, tt.t.Refused, tt)
		}
	}
	t2.LetGo(a)
	if errs := t2.Errors(); len(errs) > 0 {
		t.Errorf("errors of an nsqd that was let go: %v", errs)
	}
	t1.Forget()
	if errs := t1.Errors(); len(errs) > 0 {
		t.Errorf("errors after Forget: %v", errs)
	}
}

// N12: a publish that fails at each of very many unhealthy members looks at each a few
// times only, and so does one that waits for any to recover.
func TestTriesAreLinear(t *testing.T) {
	const n = 20_000
	p := &pool{}
	for i := range n {
		p.members = append(p.members, &member{name: fmt.Sprint(i), unhealthy: true})
	}
	tries := &Tries[*member]{}
	for range n {
		m := p.next(tries)
		if m == nil {
			t.Fatal("not all were tried")
		}
		tries.Failed(m, errDown, NotSent, false)
	}
	for range 100 {
		if m := p.next(tries); m != nil {
			t.Fatal("tried again")
		}
	}
	if ready, all := tries.Look(p.members); ready || !all {
		t.Errorf("ready %v, all tried %v", ready, all)
	}
	looks := 0
	for _, m := range p.members {
		looks += m.looks
	}
	if looks > 4*n {
		t.Errorf("looked %d times at %d members", looks, n)
	}
	latest := errors.New("latest")
	tries.Failed(p.members[n-1], latest, NotSent, false)
	if errs := tries.Errors(); len(errs) != n || errs[n-1] != latest { //nolint:errorlint // identity
		t.Errorf("%d errors, the last is %v", len(errs), errs[n-1])
	}
}

// TestChoiceWalk has publishes in progress while members join, leave, fail and
// recover, and checks after each choice that:
//   - a healthy member comes before an unhealthy one, in the order of turns;
//   - of the next two healthy members the second is chosen only if it owes fewer replies;
//   - no member is tried again before all were tried, and then only healthy ones;
//   - while all members are healthy and none joins or leaves, publishes go round them
//     evenly.
func TestChoiceWalk(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := newPool("a b c")
		publishes := make([]*walker, 5)
		for step := range 5000 {
			switch rng.IntN(20) {
			case 0:
				if len(p.members) < 3*shortTries {
					at := rng.IntN(len(p.members) + 1)
					p.members = slices.Insert(p.members, at, &member{name: fmt.Sprint(step)})
					p.news++
				}
			case 1:
				if len(p.members) > 0 {
					at := rng.IntN(len(p.members))
					p.members = slices.Delete(p.members, at, at+1)
				}
			case 2, 3, 4:
				if len(p.members) > 0 {
					m := p.members[rng.IntN(len(p.members))]
					if m.unhealthy = !m.unhealthy; !m.unhealthy {
						p.news++
					}
				}
			case 6, 7:
				if len(p.members) > 0 {
					p.members[rng.IntN(len(p.members))].owes = rng.IntN(3)
				}
			case 5:
				evenly(t, p)
			default:
				i := rng.IntN(len(publishes))
				if publishes[i] == nil || rng.IntN(10) == 0 {
					publishes[i] = &walker{tried: map[*member]bool{}}
				}
				publishes[i].step(t, p, rng.IntN(2) == 0)
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}

// walker is a publish, together with what the test expects of it.
type walker struct {
	tries Tries[*member]
	tried map[*member]bool
	again bool
}

// step tries the next member, or looks for one.
func (w *walker) step(t *testing.T, p *pool, down bool) {
	turn := p.turn
	var want *member
	healthy := w.eligible(p, turn, true)
	switch untried := w.eligible(p, turn, false); {
	case len(healthy) > 1 && healthy[1].owes < healthy[0].owes:
		want = healthy[1]
	case len(healthy) > 0:
		want = healthy[0]
	case len(untried) > 0:
		want = untried[0]
	}
	got := p.next(&w.tries)
	if got != want {
		t.Errorf("chose %+v of %v at turn %d, want %+v", got, p.members, turn, want)
	}
	if got != nil {
		w.tried[got] = true
		if got.unhealthy && !down {
			p.news++
		}
		got.unhealthy = down
		w.tries.Failed(got, errDown, NotSent, false)
		return
	}
	if p.turn != turn {
		t.Error("a turn was used up although no member was tried")
	}
	allTried, anyHealthy := len(p.members) > 0, false
	for _, m := range p.members {
		allTried = allTried && w.tried[m]
		anyHealthy = anyHealthy || m.Healthy()
	}
	ready, all := w.tries.Look(p.members)
	if all != allTried || ready != (len(p.members) > 0 && (!allTried || anyHealthy)) {
		t.Errorf("ready %v, all tried %v, of %v and %v", ready, all, p.members, w.tried)
	}
	w.again = len(w.tried) > 0 && (allTried || len(p.members) == 0)
	if m, ok := w.tries.Next(p.members, turn, p.news); ok != ready {
		t.Errorf("ready is %v, then the next is %v, %v", ready, m, ok)
	}
}

// eligible returns, in the order of turns, the members that may be tried next: only
// healthy ones, or any that was not tried.
func (w *walker) eligible(p *pool, turn int, healthy bool) (members []*member) {
	for i := range p.members {
		m := p.members[(turn+i)%len(p.members)]
		if healthy && m.Healthy() && (w.again || !w.tried[m]) || !healthy && !w.again && !w.tried[m] {
			members = append(members, m)
		}
	}
	return members
}

// evenly makes all members healthy, has all owe the same, and begins three publishes per
// member. Each member must get three.
func evenly(t *testing.T, p *pool) {
	for _, m := range p.members {
		m.unhealthy, m.owes = false, 1
	}
	p.news++
	got := map[*member]int{}
	for range 3 * len(p.members) {
		got[p.next(&Tries[*member]{})]++
	}
	for _, m := range p.members {
		if got[m] != 3 {
			t.Errorf("%s had %d of %d publishes", m.name, got[m], 3*len(p.members))
		}
	}
}
