package simulation

import (
	"net/http"
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
			happenToLookup(l, e)
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
	case "swallow":
		d.link.set(func(l *link) { l.swallow = true })
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
		d.Inject(faultOf(e.name(1), e.name(2)))
	}
}

// refusals are nsqd's errors to commands.
var refusals = map[string]string{
	"PUB": "E_PUB_FAILED", "MPUB": "E_MPUB_FAILED", "DPUB": "E_DPUB_FAILED", "FIN": "E_FIN_FAILED", "REQ": "E_REQ_FAILED", "TOUCH": "E_TOUCH_FAILED",
	"SUB": "E_BAD_CHANNEL", "RDY": "E_INVALID",
}

// faultOf returns what an nsqd does once instead of what a command asks for.
func faultOf(command, how string) nsqtest.Fault {
	f := nsqtest.Fault{Command: command, Times: 1}
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

func happenToLookup(l *nsqlookupd, e line) {
	switch e.word {
	case "kill":
		l.Kill()
	case "hang":
		l.Hang()
	case "fail":
		l.Fail(http.StatusInternalServerError, "by the story")
	case "garble":
		l.Reply(`{"topics":[`)
	case "mend":
		mendLookup(l)
	}
}

func mendLookup(l *nsqlookupd) {
	l.Restart()
	l.Recover()
}

// mend ends what is wrong with an nsqd and its link.
func (w *world) mend(d *nsqd) {
	w.net.daemons.Allow(d.Addr())
	d.ClearFaults()
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
		d.link.cut() // a publish without a context waits for a reply that a fault has dropped
		for _, tc := range w.channels() {
			topic, channel, _ := strings.Cut(tc, "/")
			d.Unpause(topic, channel)
		}
	}
	for _, l := range w.looks {
		mendLookup(l)
	}
	w.calm.Store(true)
	for _, a := range w.takers {
		a.recover()
	}
}
