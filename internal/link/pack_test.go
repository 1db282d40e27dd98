package link

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// packing returns a link that packs publishes and whose nsqd has accepted a message of size
// bytes. Its writer is busy with the first of that message's bytes until the peer reads them.
func (p *peer) packing(size int, limits Limits) (*Link, *recorder) {
	p.t.Helper()
	p.network.Capacity = 8
	cfg := p.config()
	cfg.Topic = ""
	l, r := p.connect(cfg)
	l.SetLimits(limits)
	accepted := bytes.Repeat([]byte("x"), size)
	l.Pub("first", accepted, r.replier("first"))
	p.expect(pubOf("first", string(accepted)))
	p.send(okFrame)
	synctest.Wait()
	l.Nop()
	l.Dpub("busy", 0, []byte("x"), r.replier("busy"))
	synctest.Wait()
	return l, r
}

// busy is what the link of packing sends before anything else.
const busy = "NOP\nDPUB busy 0\n\x00\x00\x00\x01x"

func pubOf(topic, body string) string { return string(wire.AppendPub(nil, topic, []byte(body))) }

func mpubOf(topic string, bodies ...string) string {
	var list [][]byte
	for _, b := range bodies {
		list = append(list, []byte(b))
	}
	return string(wire.AppendMpub(nil, topic, list))
}

var manyLimits = Limits{Message: 1 << 20, Body: 5 << 20, Delay: time.Hour, Pack: 5 << 20}

// What waits for one write, and how it is sent.
func TestPubsPack(t *testing.T) {
	pub := func(topic, body string) func(*Link, Replier) {
		return func(l *Link, to Replier) { l.Pub(topic, []byte(body), to) }
	}
	sixteenth := strings.Repeat("x", 4000) // of a chunk, and a little less
	for name, tt := range map[string]struct {
		limits Limits
		send   []func(*Link, Replier)
		want   string
	}{
		"one": {manyLimits, []func(*Link, Replier){pub("t", "a")}, pubOf("t", "a")},
		"three": {manyLimits, []func(*Link, Replier){pub("t", "a"), pub("t", "bc"), pub("t", "d")},
			mpubOf("t", "a", "bc", "d")},
		"not packed": {Limits{Message: 1 << 20, Body: 5 << 20, Delay: time.Hour},
			[]func(*Link, Replier){pub("t", "a"), pub("t", "b")}, pubOf("t", "a") + pubOf("t", "b")},
		"topics": {manyLimits, []func(*Link, Replier){pub("t", "a"), pub("t", "b"), pub("u", "c"), pub("t", "d"), pub("t", "e")},
			mpubOf("t", "a", "b") + pubOf("u", "c") + mpubOf("t", "d", "e")},
		"another command": {manyLimits,
			[]func(*Link, Replier){
				pub("t", "a"), pub("t", "b"),
				func(l *Link, to Replier) { l.Dpub("t", 0, []byte("c"), to) },
				pub("t", "d"), pub("t", "e"),
				func(l *Link, to Replier) { l.Mpub("t", [][]byte{[]byte("f")}, to) },
				pub("t", "g"),
			},
			mpubOf("t", "a", "b") + "DPUB t 0\n\x00\x00\x00\x01c" + mpubOf("t", "d", "e") + mpubOf("t", "f") + pubOf("t", "g")},
		"larger than accepted": {manyLimits, []func(*Link, Replier){pub("t", "a"), pub("t", "b"), pub("t", sixteenth+"x"), pub("t", "c"), pub("t", "d")},
			mpubOf("t", "a", "b") + pubOf("t", sixteenth+"x") + mpubOf("t", "c", "d")},
		"the largest body": {Limits{Message: 1 << 20, Body: 5 << 20, Delay: time.Hour, Pack: 4 + 3*5},
			[]func(*Link, Replier){pub("t", "a"), pub("t", "b"), pub("t", "c"), pub("t", "d")},
			mpubOf("t", "a", "b", "c") + pubOf("t", "d")},
		"a chunk": {manyLimits, slices.Repeat([]func(*Link, Replier){pub("t", sixteenth)}, 17),
			mpubOf("t", slices.Repeat([]string{sixteenth}, 16)...) + pubOf("t", sixteenth)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r := p.packing(len(sixteenth), tt.limits)
				for _, send := range tt.send {
					send(l, r.replier("it"))
				}
				p.expect(busy + tt.want)
				synctest.Wait()
				p.expectNothing()
				if queued, sent := l.queued, l.sent; queued != sent {
					t.Errorf("%d bytes were queued and %d sent", queued, sent)
				}
				l.Close(nil)
				_ = r.wait()
			})
		})
	}
}

// One reply to a pack is that of each publish in it. If it is a refusal, each learns that the
// pack was refused. Repliers may end their goroutines.
func TestReplyToPack(t *testing.T) {
	for name, wrap := range map[string]func(Replier) Replier{
		"replier": func(r Replier) Replier { return r },
		"leaver":  func(r Replier) Replier { return leaver{r} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r := p.packing(1, manyLimits)
				for i := range 3 {
					l.Pub("t", []byte("x"), wrap(r.replier(fmt.Sprint("t", i))))
				}
				l.Pub("u", []byte("x"), wrap(r.replier("u")))
				for i := range 2 {
					l.Pub("v", []byte("x"), wrap(&packedReply{recordedReply{r, fmt.Sprint("v", i)}}))
				}
				p.expect(busy + mpubOf("t", "x", "x", "x") + pubOf("u", "x") + mpubOf("v", "x", "x"))
				p.send(okFrame, okFrame, okFrame, nsqtest.ErrorFrame("E_MPUB_FAILED", "MPUB failed exiting"))
				_ = p.conn.Close() // a leaver ends the goroutine that would end the link
				_ = r.wait()
				r.expect(t, "first: OK", "busy: OK", "t0: OK", "t1: OK", "t2: OK", "u: OK",
					"v0: packed: E_MPUB_FAILED MPUB failed exiting", "v1: packed: E_MPUB_FAILED MPUB failed exiting", "down")
			})
		})
	}
}

// packedReply is a recordedReply that tells a PackedError from others.
type packedReply struct{ recordedReply }

func (n *packedReply) Reply(data []byte, err error) {
	if _, packed := errors.AsType[*PackedError](err); packed {
		err = fmt.Errorf("packed: %w", err)
	}
	n.recordedReply.Reply(data, err)
}

// A drain waits for the reply to a pack.
func TestDrainWaitsForPack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.packing(1, manyLimits)
		l.Pub("t", []byte("a"), r.replier("a"))
		l.Pub("t", []byte("b"), r.replier("b"))
		l.Drain()
		if l.Pub("t", []byte("c"), r.replier("c")) {
			t.Error("a draining link takes a publish")
		}
		p.expect(busy + mpubOf("t", "a", "b"))
		p.send(okFrame)
		synctest.Wait()
		p.expectNothing()
		p.send(okFrame)
		p.expectEOF()
		_ = p.conn.Close()
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		r.expect(t, "first: OK", "busy: OK", "a: OK", "b: OK", "down")
	})
}

// When a connection breaks in a pack, each publish of which nsqd may have seen something is
// told so, and each of which it has seen nothing. nsqd stores none of them unless it has all.
func TestUnansweredPack(t *testing.T) {
	pack := mpubOf("t", "a", "b", "c")
	for n := range len(pack) + 1 {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l := p.fragile(len("NOP\n") + n)
			l.SetLimits(manyLimits)
			l.accepted = 1
			r := newRecorder()
			for _, body := range []string{"a", "b", "c"} {
				l.Pub("t", []byte(body), r.replier(body))
			}
			l.Start(r)
			if n == len(pack) {
				synctest.Wait()
				l.Close(nil)
			}
			_ = r.wait()
			sent := func(body string) string {
				// What the first PUB grew by lies in front of the second message.
				begins := strings.Index(pack, "\x01"+body) - 3
				switch body {
				case "a":
					begins = 0
				case "b":
					begins -= 9
				}
				return fmt.Sprintf("%s: unanswered, sent %t", body, n > begins)
			}
			r.expect(t, sent("a"), sent("b"), sent("c"), "down")
			p.expect("NOP\n" + pack[:n])
		})
	}
}

// Whatever is published, nsqd gets it in that order, and each publish gets the reply to the
// command that has its message.
func TestPackWalk(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			p.network.Capacity = 1 << 10
			cfg := p.config()
			cfg.Topic = ""
			l, r := p.connect(cfg)
			rng := rand.New(rand.NewPCG(seed, 0))
			var sent []string
			packs := 0
			read := &packReader{peer: p}
			for range 200 {
				switch n := rng.IntN(20); {
				case n == 0:
					l.SetLimits(Limits{Message: 1 << 20, Body: 5 << 20, Delay: time.Hour, Pack: int64(rng.IntN(2) * rng.IntN(1000))})
				case n == 1:
					l.SetLimits(manyLimits)
				case n == 2:
					l.Nop()
				case n < 6:
					synctest.Wait()
					packs += read.some()
				default:
					topic, body := string('t'+rune(rng.IntN(2))), fmt.Sprint(len(sent), strings.Repeat("x", rng.IntN(300)))
					sent = append(sent, topic+" "+body)
					l.Pub(topic, []byte(body), r.replier(fmt.Sprint(len(sent))))
				}
			}
			for range 100 {
				synctest.Wait()
				packs += read.some()
			}
			if !slices.Equal(read.messages, sent) || packs == 0 {
				t.Errorf("seed %d: nsqd got %d messages, %d were published, in %d packs", seed, len(read.messages), len(sent), packs)
			}
			l.Close(nil)
			_ = r.wait()
			r.mu.Lock()
			defer r.mu.Unlock()
			for i, event := range r.events[:len(r.events)-1] {
				who, reply, _ := strings.Cut(event, ": ")
				if mine := fmt.Sprint(i + 1); who != mine || !slices.Contains(strings.Split(reply, "|"), sent[i]) {
					t.Fatalf("seed %d: reply %d of %d is %.100q", seed, i+1, len(sent), event)
				}
			}
		})
	}
}

// A packReader is an nsqd that replies to each publish with what it read.
type packReader struct {
	*peer
	unread   []byte
	messages []string // each with its topic
}

// some reads what has come and replies to it. It returns how many packs there were.
func (p *packReader) some() (packs int) {
	p.t.Helper()
	buf := make([]byte, 1<<16)
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	n, _ := p.conn.Read(buf)
	p.unread = append(p.unread, buf[:n]...)
	for {
		c, n, err := wire.ParseCommand(p.unread, wire.DefaultLimits)
		if errors.Is(err, wire.ErrShort) {
			return packs
		} else if err != nil {
			p.t.Fatal(err)
		}
		bodies := [][]byte{c.Body}
		switch c.Name {
		case wire.CmdNop:
			bodies = nil
		case wire.CmdMpub:
			packs++
			if bodies, err = wire.ParseMpub(c.Body, wire.DefaultLimits); err != nil {
				p.t.Fatal(err)
			}
		}
		var mine []string
		for _, b := range bodies {
			mine = append(mine, c.Params[0]+" "+string(b))
		}
		p.unread = p.unread[n:]
		p.messages = append(p.messages, mine...)
		if mine != nil {
			p.send(nsqtest.ResponseFrame(strings.Join(mine, "|")))
		}
	}
}
