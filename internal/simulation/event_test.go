package simulation

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// happen lets an event happen. Those of actors that the story does not have do nothing.
func (w *world) happen(e line) {
	name := e.name(0)
	if d := w.nsqd(name); d != nil {
		w.happenToNSQD(d, e)
		return
	}
	for _, l := range w.looks {
		if l.name == name {
			w.happenToLookup(l, e)
		}
	}
	for _, a := range w.takers {
		if a.name == name {
			a.happen(w, e)
		}
	}
	for _, p := range w.sources {
		if p.name == name {
			p.stop()
		}
	}
}

func (w *world) happenToNSQD(d *nsqd, e line) {
	topic, channel, _ := strings.Cut(e.name(1), "/")
	n, _ := strconv.Atoi(e.name(1))
	switch e.word {
	case "kill":
		d.Kill()
	case "crash":
		d.Kill()
		w.lose(d)
	case "restart":
		d.Restart()
	case "mend":
		w.mend(d)
	case "freeze": // it neither reads nor sends heartbeats
		d.StopReading()
		d.StopHeartbeats()
	case "silence":
		d.StopHeartbeats()
	case "stall":
		d.link.set(func(l *link) { l.stalled = true })
	case "swallow": // in one direction or both
		d.link.set(func(l *link) { l.loseSent, l.loseReceived = e.name(1) != "received", e.name(1) != "sent" })
	case "halve":
		d.link.halve()
	case "move":
		w.move(d)
	case "delete":
		w.delete(d, topic, channel)
	case "cut":
		d.link.cut()
	case "link":
		d.link.set(func(l *link) { l.delay, l.chunk = e.ms("delay"), e.number("chunk") })
	case "refuse":
		w.net.daemons.Refuse(d.Addr(), nil)
	case "blackhole":
		w.net.daemons.Blackhole(d.Addr())
	case "cut-after-sent":
		d.CutAfterSent(n)
	case "cut-after-received":
		d.CutAfterReceived(n)
	case "pause":
		d.Pause(topic, channel)
	case "unpause":
		d.Unpause(topic, channel)
	case "fault":
		d.Inject(faultOf(e.name(1), e.name(2), max(e.number("times"), 1)))
	}
}

// refusals are nsqd's errors to commands.
var refusals = map[string]string{
	"PUB": "E_PUB_FAILED", "MPUB": "E_MPUB_FAILED", "DPUB": "E_DPUB_FAILED", "FIN": "E_FIN_FAILED", "REQ": "E_REQ_FAILED", "TOUCH": "E_TOUCH_FAILED",
	"SUB": "E_BAD_CHANNEL", "RDY": "E_INVALID",
}

// faultOf returns what an nsqd does a few times instead of what a command asks for.
func faultOf(command, how string, times int) nsqtest.Fault {
	f := nsqtest.Fault{Command: command, Times: times}
	switch how {
	case "mute":
		f.Mute = true
	case "close":
		f.Close = true
	case "lose": // it does what it is told, and nobody learns of it
		f.Mute, f.Close = true, true
	case "slow":
		f.Delay = 300 * time.Millisecond
	case "refuse":
		f.Reply = nsqtest.ErrorFrame(refusals[command], "by the story")
		f.Close = !strings.HasSuffix(refusals[command], "_FAILED") || strings.HasSuffix(command, "PUB")
	}
	return f
}

// lose loses all messages of a killed nsqd, but those that the audit keeps.
func (w *world) lose(d *nsqd) {
	channels := w.channels()
	for _, topic := range w.topics() {
		channels = append(channels, topic+".delayed/relay")
	}
	for _, tc := range channels {
		topic, channel, _ := strings.Cut(tc, "/")
		for _, body := range d.Queued(topic, channel) {
			w.ledger.note(w.ledger.lost, tc, idOf([]byte(body)))
		}
		d.Empty(topic, channel)
	}
}

func (w *world) happenToLookup(l *nsqlookupd, e line) {
	switch e.word {
	case "unlist":
		if d := w.nsqd(e.name(1)); d != nil {
			w.unlist(l, d.addr)
		}
	case "kill":
		l.Kill()
	case "hang":
		l.Hang()
	case "fail":
		l.Fail(http.StatusInternalServerError, "by the story")
	case "garble":
		l.Reply(`{"topics":[`)
	case "mend":
		w.mendLookup(l)
	}
}

func (w *world) mendLookup(l *nsqlookupd) {
	l.Restart()
	l.Recover()
	for _, d := range w.nsqds {
		w.list(l, d)
	}
}

// delete deletes a channel, and makes it again.
func (w *world) delete(d *nsqd, topic, channel string) {
	if !slices.Contains(w.channels(), topic+"/"+channel) {
		return
	}
	w.ledger.loseAll(topic, channel) // any message may be in flight or deferred there
	d.DeleteChannel(topic, channel)
	d.CreateChannel(topic, channel)
}

// move restarts an nsqd at another address. nsqlookupds list it there, and the program connects
// Consumers that know it by its address. Producers keep the old one, which works again at the end.
func (w *world) move(d *nsqd) {
	sleep(time.Millisecond) // a Group that has just started has no Consumers yet
	from := d.addr
	d.addr = fmt.Sprintf("%s-%d:4150", d.name, len(w.net.links))
	d.Kill()
	w.net.lead(from, nil)
	w.net.lead(d.addr, d.link)
	for _, l := range w.looks {
		w.unlist(l, from)
		w.list(l, d)
	}
	for _, a := range w.takers {
		a.moved(from, d.addr)
	}
	d.Restart()
}

// list registers an nsqd at an nsqlookupd.
func (w *world) list(l *nsqlookupd, d *nsqd) {
	for _, topic := range w.topics() {
		l.Register(topic, d.addr)
		l.Register(topic+".delayed", d.addr)
	}
}

func (w *world) unlist(l *nsqlookupd, addr string) {
	for _, topic := range w.topics() {
		l.Unregister(topic, addr)
		l.Unregister(topic+".delayed", addr)
	}
}

// mend ends what is wrong with an nsqd and its link.
func (w *world) mend(d *nsqd) {
	w.net.daemons.Allow(d.Addr())
	d.ClearFaults()
	w.guard(d)
	d.CutAfterSent(-1)
	d.CutAfterReceived(-1)
	d.StartReading()
	d.StartHeartbeats()
	d.link.mend()
	d.Restart()
}

// mendAll ends all that is wrong, and starts all that was stopped.
func (w *world) mendAll() {
	for _, d := range w.nsqds {
		w.mend(d)
		w.net.lead(d.Addr(), d.link)
		if !w.gentle {
			d.link.cut() // a publish without a context waits for a reply that a fault has dropped
		}
		for _, tc := range w.channels() {
			topic, channel, _ := strings.Cut(tc, "/")
			d.Unpause(topic, channel)
		}
	}
	for _, l := range w.looks {
		w.mendLookup(l)
	}
	w.calm.Store(true)
	for _, a := range w.takers {
		a.recover()
	}
}
