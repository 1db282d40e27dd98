package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rdyhq/nsq/internal/wire"
	"github.com/rdyhq/nsq/nsqtest"
)

// stuck connects a link whose writer is stuck in a Write of FINs. It returns how many
// bytes of commands were given to the link.
func (p *peer) stuck(cfg Config) (*Link, *recorder, int) {
	p.t.Helper()
	l, r := p.connect(cfg)
	id := testID("a")
	const fins = 64<<10/finSize + 100
	for range fins {
		l.Fin(&id)
	}
	synctest.Wait()
	return l, r, fins * finSize
}

// queued returns how many bytes were ever appended to a link.
func queued(l *Link) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued
}

// unsent returns how many bytes wait for a link's socket.
func unsent(l *Link) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued - l.sent
}

// N10: while a NOP waits for the socket, a flood of heartbeats adds none.
func TestHeartbeatFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r, given := p.stuck(p.config())
		const flood = 100_000
		for range flood / 1000 {
			p.send(bytes.Repeat(heartbeat, 1000))
		}
		synctest.Wait()
		if n := queued(l); n != uint64(given+len("NOP\n")) {
			t.Errorf("%d bytes appended after %d heartbeats, want %d and one NOP", n, flood, given)
		}
		_, _ = io.CopyN(io.Discard, p.conn, int64(given))
		p.expect("NOP\n")
		synctest.Wait()
		p.send(heartbeat) // a later heartbeat gets its NOP
		p.expect("NOP\n")
		l.Close(nil)
		_ = r.wait()
	})
}

// N10: heartbeats in a handshake are not counted: one NOP serves for a flood.
func TestHeartbeatFloodInHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		cfg := p.config()
		result := p.dial(t.Context(), cfg)
		p.accept()
		p.expect(hello(cfg))
		p.send(bytes.Repeat(heartbeat, 100_000), okFrame)
		p.expect("NOP\nSUB t ch\n")
		p.send(okFrame)
		l, err := result()
		if err != nil {
			t.Fatal(err)
		}
		l.Close(nil)
	})
}

// acker is a recorder that finishes every message at once.
type acker struct {
	*recorder
	link *Link
}

func (a acker) Messages(batch []wire.Message) {
	for i := range batch {
		a.link.Fin(&batch[i].ID)
	}
}

func (a acker) TooBig(m wire.Message, _ int) { a.link.Req(&m.ID, 0) }

// N10: an nsqd that sends messages and takes no acks is not read from once maxUnsent
// bytes of acks wait. When it takes them, all arrive; when it does not, WriteTimeout
// ends the link.
func TestUnsentAcksHoldUpTheReader(t *testing.T) {
	const messages = 200_000
	small := message("a", "x")
	tooBig := message("b", strings.Repeat("x", 11))
	for name, frame := range map[string][]byte{"FIN": small, "REQ": tooBig} {
		for _, takes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, taken %t", name, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(t)
					cfg := p.config()
					cfg.MaxBody, cfg.WriteTimeout = 10, time.Minute
					l, r := p.handshake(cfg), newRecorder()
					l.Start(acker{r, l})
					sent := make(chan struct{})
					go func() {
						defer close(sent)
						_, _ = p.conn.Write(bytes.Repeat(frame, messages))
					}()
					synctest.Wait()
					if waits := unsent(l); waits > 2*maxUnsent || waits <= maxUnsent {
						t.Errorf("%d bytes wait to be written, want somewhat more than %d", waits, maxUnsent)
					}
					if takes {
						lines := bytes.Count(p.readFor(time.Second), []byte("\n"))
						if <-sent; lines != messages {
							t.Errorf("%d acks, want %d", lines, messages)
						}
						l.Close(nil)
						_ = r.wait()
						return
					}
					start := time.Now()
					expectError(t, r.wait(), OpWrite, os.ErrDeadlineExceeded)
					if took := time.Since(start); took > 2*cfg.WriteTimeout {
						t.Errorf("ended after %v", took)
					}
					<-sent
					if s := l.Stats(); s.Finished+s.Requeued+s.Lost-s.Unsent != s.Received || s.InFlight != 0 {
						t.Errorf("out of balance: %+v", s)
					}
				})
			})
		}
	}
}

// readFor returns what the link writes until it has written nothing for d.
func (p *peer) readFor(d time.Duration) []byte {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(d))
		n, err := p.conn.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return all
		}
	}
}

// A close ends the wait of a reader that is held up.
func TestCloseWhileTheReaderIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.handshake(p.config()), newRecorder()
		l.Start(acker{r, l})
		go func() { _, _ = p.conn.Write(bytes.Repeat(message("a", "x"), 200_000)) }()
		synctest.Wait()
		l.Close(errEnough)
		expectError(t, r.wait(), OpClose, errEnough)
	})
}

// A reader that is held up when a Write fails still finds what nsqd said before.
func TestRefusalWhileTheReaderIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		p.network.Capacity = 2 << 20
		l, r := p.handshake(p.config()), newRecorder()
		l.Start(acker{r, l})
		held := (p.network.Capacity + maxUnsent) / finSize // the reader is held up after about as many
		_, _ = p.conn.Write(append(bytes.Repeat(message("a", "x"), held+20_000), nsqtest.ErrorFrame("E_INVALID", "why")...))
		synctest.Wait()
		if s := l.Stats(); s.Received < uint64(held-20_000) || s.Received >= uint64(held+20_000) {
			t.Fatalf("%d messages received, want about %d", s.Received, held)
		}
		_ = p.conn.Close()
		expectRefusal(t, r.wait(), OpRead, wire.Invalid)
	})
}

// An owner that holds too much stops the reader until it holds less, or the link ends.
func TestOwnerHoldsUpTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.raw()
		l.Hold(maxHeld)
		p.send(okFrame)
		synctest.Wait()
		r.expect(t, "frame 0 OK")
		l.Hold(1)
		for range 3 {
			p.send(okFrame)
			synctest.Wait()
		}
		r.expect(t, "frame 0 OK", "frame 0 OK") // the one that the reader was waiting for
		l.Hold(-1)
		synctest.Wait()
		r.expect(t, slices.Repeat([]string{"frame 0 OK"}, 4)...)
		l.Hold(1)
		p.send(okFrame, okFrame)
		synctest.Wait()
		l.Close(nil)
		_ = r.wait()
		if n := len(r.events); n != 7 { // what had been read is still passed on
			t.Errorf("%q after the link was closed", r.events)
		}
	})
}

// N10: TOUCHes are refused while maxUnsent bytes wait before them.
func TestUnsentTouches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r, _ := p.stuck(p.config())
		id := testID("a")
		for i := 0; l.Touch(&id); i++ {
			if i > maxUnsent {
				t.Fatal("TOUCHes pile up without end")
			}
		}
		if waits := unsent(l); waits > maxUnsent+lineSize {
			t.Errorf("%d bytes wait", waits)
		}
		_ = p.readFor(time.Second)
		if !l.Touch(&id) {
			t.Error("refused after nsqd has taken everything")
		}
		l.Close(nil)
		_ = r.wait()
	})
}

// N10: a reply to a command that nsqd cannot have ends the link. The command counts as not
// sent.
func TestReplyBeforeItsCommand(t *testing.T) {
	for name, frame := range map[string][]byte{"OK": okFrame, "error": nsqtest.ErrorFrame("E_PUB_FAILED", "")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, r, _ := p.stuck(p.config())
				l.Pub("t", []byte("x"), r.replier("pub"))
				p.send(frame)
				err := r.wait()
				if name == "OK" {
					expectError(t, err, OpRead, ErrUnexpectedReply)
				} else {
					expectRefusal(t, err, OpRead, wire.PubFailed)
				}
				r.expect(t, "pub: unanswered, sent false", "down")
			})
		})
	}
}

// header returns the header of a message frame with a body of n bytes.
func header(n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+wire.MessageDataLen(n)))
	return binary.BigEndian.AppendUint32(b, uint32(wire.FrameMessage))
}

// N11: a link that does not subscribe refuses a message once the frame's header is known.
func TestMessageWithoutSubscription(t *testing.T) {
	for _, frame := range [][]byte{header(1<<31 - 100), header(0), message("a", "x"), message("a", strings.Repeat("x", 100_000))} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Topic, cfg.MaxBody, cfg.OwnAbove = "", 10, 5
			_, r := p.connect(cfg)
			_, _ = p.conn.Write(frame)
			expectError(t, r.wait(), OpRead, ErrUnexpectedMessage)
			r.expect(t, "down")
		})
		for replies := range 2 { // in the handshake
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				cfg := p.config()
				result := p.dial(t.Context(), cfg)
				p.accept()
				p.expect(hello(cfg))
				if replies > 0 {
					p.send(okFrame)
				}
				go func() { _, _ = p.conn.Write(frame) }()
				if _, err := result(); !errors.Is(err, wire.ErrFrame) || !strings.Contains(err.Error(), "message before RDY") {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// N21: an ID that would not survive in a FIN ends the link, and is named.
func TestOddIDs(t *testing.T) {
	base := testID("a")
	for _, c := range []byte{0, '\n', '\r', ' ', 0x1f, 0x7f, 0x80, 0xff} {
		for at := range base {
			for name, bodyLen := range map[string]int{"in place": 1, "own memory": 7, "too big": 11} {
				id := base
				id[at] = c
				synctest.Test(t, func(t *testing.T) {
					p := newPeer(t)
					cfg := p.config()
					cfg.MaxBody, cfg.OwnAbove = 10, 5
					l, r := p.connect(cfg)
					p.send(wire.AppendMessage(nil, &wire.Message{ID: id, Body: make([]byte, bodyLen)}))
					err := r.wait()
					expectError(t, err, OpRead, wire.ErrFrame)
					if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("message ID %q", id[:])) {
						t.Errorf("%s: %v", name, err)
					}
					r.expect(t, "down")
					if s := l.Stats(); s != (Stats{}) {
						t.Errorf("%+v", s)
					}
				})
			}
		}
	}
}

// N21: what was not sent is known from what was appended, not from what the bytes look
// like. Bodies of publishes look like FINs and REQs here.
func TestUnsentIsCountedByAppending(t *testing.T) {
	fakes := []byte(strings.Repeat(fin("x")+"REQ x--------------- 0\n", 3))
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0)) // #nosec G404 -- a test
			p := newPeer(t)
			p.network.Capacity = 1 + random.IntN(1000)
			cfg := p.config()
			cfg.WriteTimeout = time.Second
			l, r := p.connect(cfg)
			type command struct {
				end uint64
				fin bool
			}
			var acks []command
			messages := 0
			take := func(n int64) { // the peer takes up to n bytes
				_ = p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
				_, _ = io.CopyN(io.Discard, p.conn, random.Int64N(n))
			}
			for range 300 {
				id := testID(fmt.Sprint(random.IntN(1000)))
				n := 1
				switch random.IntN(8) {
				case 0:
					l.Pub("t", fakes, r.replier("pub"))
					continue
				case 1:
					l.Nop()
					continue
				case 2, 3, 4:
					delay := time.Duration(random.IntN(2000)) * time.Millisecond
					l.Req(&id, delay)
					acks = append(acks, command{queued(l), false})
				case 5:
					l.Fin(&id)
					acks = append(acks, command{queued(l), true})
				default:
					n = 1 + random.IntN(4)
					before := queued(l)
					l.Fins(slices.Repeat([]wire.ID{id}, n))
					for i := range n {
						acks = append(acks, command{before + uint64((i+1)*finSize), true})
					}
				}
				messages += n
				switch random.IntN(6) {
				case 0, 1:
					synctest.Wait()
				case 2:
					take(200)
				}
			}
			take(5000)
			pass(5 * time.Second)
			l.Close(nil)
			_ = r.wait()
			var finished, requeued uint64
			for _, c := range acks {
				switch {
				case c.end > l.sent:
				case c.fin:
					finished++
				default:
					requeued++
				}
			}
			s := l.Stats()
			// No message was received, so the FINs and REQs left InFlight below 0.
			if s.Finished+s.Requeued != uint64(messages) || s.Lost != s.Unsent || s.Unsent != uint64(messages)-finished-requeued {
				t.Errorf("seed %d: %+v, want %d finished, %d requeued of %d", seed, s, finished, requeued, messages)
			}
		})
	}
}

// N21: limits that nsqd reports are brought into range where they come in.
func TestGrantedLimits(t *testing.T) {
	const low, high int64 = -1 << 63, 1<<63 - 1
	for json, want := range map[string]wire.IdentifyResponse{
		fmt.Sprintf(`{"max_rdy_count":%d,"msg_timeout":%[1]d,"max_msg_timeout":%[1]d}`, low):  {},
		fmt.Sprintf(`{"max_rdy_count":%d,"msg_timeout":%[1]d,"max_msg_timeout":%[1]d}`, high): {MaxRdyCount: math.MaxInt32, MsgTimeout: math.MaxUint32, MaxMsgTimeout: math.MaxUint32},
		`{"max_rdy_count":-1,"msg_timeout":-60000,"max_msg_timeout":-1}`:                      {},
		`{"max_rdy_count":2500,"msg_timeout":60000,"max_msg_timeout":900000}`:                 {MaxRdyCount: 2500, MsgTimeout: 60_000, MaxMsgTimeout: 900_000},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			cfg := p.config()
			cfg.Topic = ""
			result := p.dial(t.Context(), cfg)
			p.accept()
			p.expect(hello(cfg))
			p.send(nsqtest.ResponseFrame(json))
			l, err := result()
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := l.Granted(); got != want {
				t.Errorf("%s: %+v, want %+v", json, got, want)
			}
			l.Close(nil)
		})
	}
}

// steady is a connection to which a Write that timed out can be repeated, as to a
// kernel's socket.
func (p *peer) steady(ctx context.Context) *conn {
	socket, err := p.network.DialContext(ctx, "tcp", testAddr)
	if err != nil {
		p.t.Fatal(err)
	}
	c := newConn(socket)
	c.writeSteps, c.writeTimeout = 8, 800*time.Millisecond
	return c
}

// N10: a Write gives up WriteTimeout after the last byte was taken, or one step later.
func TestWriteTimeoutCountsFromTheLastByte(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes []time.Duration // when the peer takes a byte
		want  time.Duration
	}{
		{"nothing is taken", nil, 800 * time.Millisecond},
		{"a byte early", []time.Duration{10 * time.Millisecond}, 900 * time.Millisecond},
		{"bytes now and then", []time.Duration{750 * time.Millisecond, 1510 * time.Millisecond}, 2400 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				p.network.Capacity = 10
				c := p.steady(t.Context())
				p.accept()
				start := time.Now()
				for _, at := range tt.takes {
					time.AfterFunc(at, func() { _, _ = p.conn.Read(make([]byte, 1)) })
				}
				if _, err := c.Write(make([]byte, 10)); err != nil { // fills the connection
					t.Fatal(err)
				}
				n, err := c.Write(make([]byte, 100))
				if took := time.Since(start); n != len(tt.takes) || !errors.Is(err, os.ErrDeadlineExceeded) || took != tt.want {
					t.Errorf("wrote %d, %v after %v, want %d after %v", n, err, took, len(tt.takes), tt.want)
				}
				_ = c.Close()
			})
		})
	}
}

// Only to the kernel's sockets a Write is repeated.
func TestWriteSteps(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	socket, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	wrapped := struct{ net.Conn }{socket}
	if writeSteps(socket) == 1 && os.PathSeparator == '/' || writeSteps(wrapped) != 1 {
		t.Errorf("steps: %d over TCP, %d over a wrapped connection", writeSteps(socket), writeSteps(wrapped))
	}
}
