package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// teller makes the story of a seed.
type teller struct {
	*rand.Rand
	story
	nsqds, lookupds, consumers, publishers []string
	topics                                 []string
	ends                                   float64 // when the last event is, in milliseconds
}

// tell returns the story of a seed.
func tell(seed uint64) story {
	t := &teller{Rand: rand.New(rand.NewPCG(seed, 0))}
	t.say(line{word: "seed", names: []string{strconv.FormatUint(seed, 10)}})
	t.ends = 1000 + 3000*t.Float64()
	t.cluster()
	t.consume()
	t.publish()
	t.happen()
	return t.story
}

func (t *teller) say(l line) { t.story = append(t.story, l) }

// one reports true once in n times.
func (t *teller) one(n int) bool { return t.IntN(n) == 0 }

// of returns one of the words.
func (t *teller) of(words ...string) string { return words[t.IntN(len(words))] }

// some returns a number from 1 to n, of which small ones are likelier.
func (t *teller) some(n int) int { return 1 + t.IntN(1+t.IntN(n)) }

// sometimes returns n once in a few times, and else 0.
func (t *teller) sometimes(few, n int) int {
	if t.one(few) {
		return n
	}
	return 0
}

func (t *teller) cluster() {
	for i := range t.some(4) {
		name := fmt.Sprintf("n%d", i+1)
		t.nsqds = append(t.nsqds, name)
		t.say(line{word: "nsqd", names: []string{name}}.with("timeout", 400+t.IntN(1600)).with("straggler", t.sometimes(6, 1)))
	}
	for i := range t.IntN(3) {
		name := fmt.Sprintf("l%d", i+1)
		t.lookupds = append(t.lookupds, name)
		t.say(line{word: "nsqlookupd", names: []string{name}})
	}
	t.topics = []string{"t1", "t2"}[:1+t.IntN(2)]
	t.say(line{word: "network"}.with("capacity", t.sometimes(3, 50+t.IntN(2000))))
	if slow := t.one(2); slow {
		for _, n := range t.nsqds {
			t.say(line{word: "link", names: []string{n}}.with("delay", 1+t.IntN(20)).with("chunk", t.sometimes(4, 1+t.IntN(40))))
		}
	}
}

// by returns how consumers and pools find nsqds.
func (t *teller) by() string {
	if len(t.lookupds) == 0 {
		return "nsqds"
	}
	return t.of("nsqlookupds", "nsqlookupds", "nsqds", "both")
}

// settings adds what a consumer's Config and handlers may have.
func (t *teller) settings(l line) line {
	l = l.with("mif", t.some(40)).with("handlers", t.some(6)).with("by", t.by())
	l = l.with("work", t.IntN(30)+t.sometimes(5, t.IntN(900))).with("fail", t.sometimes(2, t.IntN(30))).with("panic", t.sometimes(4, t.IntN(8))).with("late", t.sometimes(4, t.IntN(8)))
	l = l.with("other", t.sometimes(2, t.IntN(40))).with("backoff", t.sometimes(2, 20+t.IntN(300))).with("adaptive", t.sometimes(3, 1))
	l = l.with("requeue", t.IntN(250)).with("autotouch", t.sometimes(4, 1)).with("recycle", t.sometimes(3, 1)).with("bytes", t.sometimes(4, 300+t.IntN(20_000)))
	return l.with("bury", t.sometimes(4, 1+t.IntN(4))).with("uniform", t.sometimes(6, 1)).with("snappy", t.sometimes(8, 1))
}

func (t *teller) consume() {
	grouped := t.one(5)
	group := line{word: "group", names: []string{"g1"}}
	for _, topic := range t.topics {
		for _, channel := range []string{"x", "y"}[:t.some(2)] {
			if grouped {
				group.names = append(group.names, topic+"/"+channel)
				continue
			}
			for range t.some(2) {
				name := fmt.Sprintf("c%d", len(t.consumers)+1)
				t.consumers = append(t.consumers, name)
				t.say(t.settings(line{word: "consumer", names: []string{name, topic + "/" + channel}}.with("take", t.of("handlers", "handlers", "batches", "loop", "fetch"))))
			}
		}
	}
	if grouped {
		t.consumers = append(t.consumers, "g1")
		g := t.settings(group.with("weights", t.sometimes(2, 1)))
		for i, o := range g.options {
			if o.key == "mif" {
				g.options[i].value = strconv.Itoa(len(t.topics)*2 + t.some(40))
			}
		}
		t.say(g)
	}
	if t.one(4) {
		t.consumers = append(t.consumers, "r1")
		t.say(t.settings(line{word: "relay", names: []string{"r1", t.topics[0]}}.with("to", t.nsqd())))
	}
}

func (t *teller) nsqd() string { return t.nsqds[t.IntN(len(t.nsqds))] }

func (t *teller) publish() {
	kinds := []string{"producer", "plain", "async", "multi", "deferred", "pool", "batcher"}
	if len(t.lookupds) > 0 {
		kinds = append(kinds, "discovered")
	}
	for i := range t.some(4) {
		name := fmt.Sprintf("p%d", i+1)
		t.publishers = append(t.publishers, name)
		l := line{word: "publisher", names: []string{name, t.topics[t.IntN(len(t.topics))]}}
		kind := t.of(kinds...)
		if i == 0 && len(t.all("relay")) > 0 {
			kind, l.names[1] = "delayed", t.topics[0]
		}
		l = l.with("kind", kind)
		switch kind {
		case "pool", "discovered":
			l = l.with("twice", t.sometimes(4, 1))
		default:
			l = l.with("to", t.nsqd())
		}
		t.say(l.with("messages", t.some(60)).with("every", t.IntN(40)).with("callers", t.some(4)).with("wait", 200+t.IntN(2000)).
			with("size", 8+t.some(400)).with("unpacked", t.sometimes(3, 1)).with("from", t.IntN(int(t.ends/2))))
	}
}

// at says an event. Its time has microseconds of its own, so that no two are at one instant.
func (t *teller) at(ms float64, words ...string) {
	t.story = append(t.story, parse(fmt.Sprintf("at %.3f %s", ms, strings.Join(words, " ")))...)
}

// events are what goes wrong or changes. Each is given a time, a later one for its end, and an nsqd.
var events = []func(t *teller, at, later float64, n string){
	func(t *teller, at, later float64, n string) {
		t.at(at, t.of("kill", "kill", "crash"), n)
		t.at(later, t.of("restart", "mend"), n)
	},
	func(t *teller, at, later float64, n string) {
		t.at(at, t.of("freeze", "silence"), n)
		t.at(later, "mend", n)
	},
	func(t *teller, at, later float64, n string) {
		t.at(at, t.of("stall", "swallow", "swallow"), n, t.of("sent", "received", "both"))
		t.at(later, "mend", n)
	},
	func(t *teller, at, _ float64, n string) { t.at(at, t.of("cut", "halve"), n) },
	func(t *teller, at, later float64, n string) {
		t.at(at, t.of("refuse", "blackhole"), n)
		if t.one(2) {
			t.at(at+0.003, "cut", n)
		}
		t.at(later, "mend", n)
	},
	func(t *teller, at, _ float64, n string) {
		t.at(at, t.of("cut-after-sent", "cut-after-received"), n, strconv.Itoa(t.IntN(4000)))
		t.at(at+0.003, "cut", n)
	},
	func(t *teller, at, _ float64, n string) { t.fault(at, n, t.of("PUB", "MPUB", "DPUB")) },
	func(t *teller, at, _ float64, n string) { t.fault(at, n, t.of("FIN", "REQ", "TOUCH", "SUB", "RDY")) },
	func(t *teller, at, later float64, n string) {
		if len(t.lookupds) > 0 {
			l := t.lookupds[t.IntN(len(t.lookupds))]
			t.at(at, t.of("kill", "hang", "fail", "garble", "unlist", "unlist"), l, n)
			t.at(later, "mend", l)
		}
	},
	func(t *teller, at, _ float64, n string) {
		t.at(at, "link", n, "delay="+strconv.Itoa(t.IntN(80)), "chunk="+strconv.Itoa(t.sometimes(2, t.some(20))))
	},
	func(t *teller, at, _ float64, n string) {
		t.at(at, t.of("pause", "unpause"), n, t.topics[t.IntN(len(t.topics))]+"/x")
	},
	func(t *teller, at, _ float64, n string) { t.at(at, "move", n) },
	func(t *teller, at, _ float64, n string) { t.at(at, "delete", n, t.topics[0]+"/x") },
	func(t *teller, at, _ float64, _ string) { t.at(at, "mif", t.consumer(), strconv.Itoa(t.IntN(40))) },
	func(t *teller, at, _ float64, _ string) { t.at(at, "handlers", t.consumer(), strconv.Itoa(t.IntN(7))) },
	func(t *teller, at, later float64, _ string) {
		c := t.consumer()
		t.at(at, "pause", c)
		t.at(later, "resume", c)
	},
	func(t *teller, at, later float64, _ string) {
		c := t.consumer()
		t.at(at, t.of("stop", "shutdown", "hurry"), c)
		t.at(later, "start", c)
	},
	func(t *teller, at, later float64, n string) {
		c := t.consumer()
		t.at(at, "disconnect", c, n)
		if t.one(2) {
			t.at(later, "connect", c, n)
		}
	},
	func(t *teller, at, later float64, _ string) {
		if len(t.lookupds) > 0 {
			c, l := t.consumer(), t.lookupds[t.IntN(len(t.lookupds))]
			t.at(at, "forget", c, l)
			t.at(later, "discover", c, l)
		}
	},
	func(t *teller, at, _ float64, _ string) { t.at(at, "stop", t.publishers[t.IntN(len(t.publishers))]) },
}

// happen says events. Most stories have but a few kinds of them, and so more that meet.
func (t *teller) happen() {
	kinds := slices.Clone(events)
	t.Shuffle(len(kinds), func(i, k int) { kinds[i], kinds[k] = kinds[k], kinds[i] })
	if !t.one(4) {
		kinds = kinds[:t.some(6)]
	}
	for range t.IntN(16) {
		at := t.ends * t.Float64()
		kinds[t.IntN(len(kinds))](t, at, at+1+1500*t.Float64()*t.Float64(), t.nsqd())
	}
}

func (t *teller) consumer() string { return t.consumers[t.IntN(len(t.consumers))] }

// fault says that an nsqd does something else than what a command asks for, once or a few times.
func (t *teller) fault(at float64, n, command string) {
	how := t.of("close", "slow", "refuse")
	switch {
	case strings.HasSuffix(command, "PUB"):
		how = t.of("close", "slow", "refuse", "lose", "lose")
	case command == "SUB":
		how = t.of("mute", "close", "slow", "refuse", "lose")
	}
	t.at(at, "fault", n, command, how, "times="+strconv.Itoa(t.some(4)))
}
