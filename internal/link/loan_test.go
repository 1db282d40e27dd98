package link

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// A borrower is a recorder that borrows the reader's goroutine after each read with
// messages, until the test ends the loan.
type borrower struct {
	*recorder
	begun chan *lentWork // Work sends itself
}

// lentWork is one call of Work.
type lentWork struct {
	loan Loan
	end  chan func() // Work calls what it receives, and returns
}

func newBorrower() *borrower {
	return &borrower{recorder: newRecorder(), begun: make(chan *lentWork, 1)}
}

func (b *borrower) Borrows() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := len(b.events) > 0 && b.events[len(b.events)-1] != "work"
	if wanted {
		b.events = append(b.events, "work")
	}
	return wanted
}

func (b *borrower) Work(loan Loan) {
	w := &lentWork{loan: loan, end: make(chan func())}
	b.begun <- w
	(<-w.end)()
}

// returns and exits are the two ways in which Work ends.
func returns() {}
func exits()   { runtime.Goexit() }

// lend plays the handshake, starts the link with a borrower, and has it begin a loan with
// message a.
func (p *peer) lend(cfg Config) (*Link, *borrower, *lentWork) {
	p.t.Helper()
	l := p.handshake(cfg)
	b := newBorrower()
	l.Start(b)
	return l, b, p.lendAgain(b, "a")
}

// lendAgain sends a message, and returns the loan that begins with it.
func (p *peer) lendAgain(b *borrower, name string) *lentWork {
	p.t.Helper()
	p.send(message(name, "x"))
	synctest.Wait()
	select {
	case w := <-b.begun:
		return w
	default:
		p.t.Fatalf("no loan began with message %s", name)
		return nil
	}
}

// finish finishes the messages with these names.
func (l *Link) finish(names ...string) {
	for _, name := range names {
		id := testID(name)
		l.Fin(&id)
	}
}

// expectSoon checks what the link writes without time passing.
func (p *peer) expectSoon(want string) {
	p.t.Helper()
	began := time.Now()
	synctest.Wait()
	p.expect(want)
	synctest.Wait()
	if took := time.Since(began); took != 0 {
		p.t.Errorf("%q came after %v", want, took)
	}
	p.expectNothing()
}

// expectWithheld checks that the link writes nothing.
func (p *peer) expectWithheld() {
	p.t.Helper()
	synctest.Wait()
	p.expectNothing()
}

// Commands that are appended during a loan do not wake the writer. They are written when
// Work has returned, in order, once and in one Write.
func TestLoanGathersCommands(t *testing.T) {
	for name, end := range map[string]func(){"returns": returns, "exits": exits} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, b, w := p.lend(p.config())
				for i := range 3 {
					if want := Loan(i + 1); w.loan != want { // #nosec G115 -- few
						t.Errorf("loan %d, want %d", w.loan, want)
					}
					before := p.network.Writes()
					l.finish("a")
					p.expectWithheld()
					l.Rdy(i)
					l.Nop()
					p.expectWithheld()
					w.end <- end
					p.expectSoon(fin("a") + fmt.Sprintf("RDY %d\nNOP\n", i))
					if n := p.network.Writes() - before; n != 1 {
						t.Errorf("%d writes", n)
					}
					l.Rdy(9) // not on loan
					p.expectSoon("RDY 9\n")
					w = p.lendAgain(b, "b")
				}
				w.end <- end // with nothing to write
				p.expectWithheld()
				l.Close(nil)
				if err := b.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// After Recall another goroutine reads, and what is pending leaves at once. When Work of
// the recalled loan ends, however it does, nothing changes for the loan after it.
func TestRecall(t *testing.T) {
	for name, end := range map[string]func(){"returns": returns, "exits": exits} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				l, b, first := p.lend(p.config())
				l.finish("a")
				p.expectWithheld()
				if !l.Recall(first.loan) {
					t.Fatal("not recalled")
				}
				p.expectSoon(fin("a"))
				l.Rdy(2) // wakes the writer again
				p.expectSoon("RDY 2\n")

				second := p.lendAgain(b, "b")
				l.finish("b")
				first.end <- end
				p.expectWithheld()
				for _, over := range []Loan{0, first.loan, second.loan + 1} {
					if l.Recall(over) {
						t.Errorf("loan %d was recalled", over)
					}
				}
				p.expectWithheld()
				p.send(message("c", "x"))
				synctest.Wait()
				b.expect(t, "message a x", "work", "message b x", "work") // c is not read

				second.end <- returns
				p.expectSoon(fin("b"))
				third := <-b.begun
				third.end <- returns
				l.Close(nil)
				_ = b.wait()
				b.expect(t, "message a x", "work", "message b x", "work", "message c x", "work", "down")
			})
		})
	}
}

// Recall of a loan that is over, or that is recalled already, changes nothing.
func TestRecallOfNoLoan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lend(p.config())
		if !l.Recall(w.loan) || l.Recall(w.loan) {
			t.Error("a loan is recalled once")
		}
		w.end <- returns
		synctest.Wait()
		refused := func(when string) {
			t.Helper()
			for loan := range Loan(5) {
				if l.Recall(loan) {
					t.Errorf("%s: loan %d was recalled", when, loan)
				}
			}
		}
		refused("recalled and over")
		w = p.lendAgain(b, "b")
		w.end <- returns
		synctest.Wait()
		refused("over")
		l.Rdy(1) // the writer wakes
		p.expectSoon("RDY 1\n")
		l.Close(nil)
		refused("closing")
		_ = b.wait()
		refused("down")
	})
}

// Of several goroutines that recall a loan while Work ends, at most one does, and exactly
// one goroutine reads on.
func TestRecallRacesWithTheEnd(t *testing.T) {
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, b, w := p.lend(p.config())
			recalled := make(chan bool, 3)
			for range cap(recalled) {
				go func() { recalled <- l.Recall(w.loan) }()
			}
			end := returns
			if i%2 == 1 {
				end = exits
			}
			w.end <- end
			n := 0
			for range cap(recalled) {
				if <-recalled {
					n++
				}
			}
			if n > 1 {
				t.Errorf("recalled %d times", n)
			}
			w = p.lendAgain(b, "b")
			p.send(message("c", "x"))
			l.finish("a")
			p.expectWithheld()
			w.end <- returns
			p.expectSoon(fin("a"))
			w = <-b.begun
			w.end <- returns
			l.Close(nil)
			_ = b.wait()
			b.expect(t, "message a x", "work", "message b x", "work", "message c x", "work", "down")
		})
	}
}

// A link that ends during a loan is down once its reader is back, or once another one
// reads. Work of a recalled loan may go on.
func TestEndDuringLoan(t *testing.T) {
	ends := []struct {
		name string
		end  func(*Link)
		rest string // what the link writes, after the FIN
		err  error
	}{
		{"Close", func(l *Link) { l.Close(errEnough) }, "", errEnough},
		{"Drain", func(l *Link) { l.finish("a"); l.Drain() }, fin("a") + "CLS\n", nil},
		{"Abandon", func(l *Link) { l.finish("a"); l.Abandon() }, fin("a"), nil},
	}
	for _, tt := range ends {
		for _, recalled := range []bool{false, true} {
			for _, exit := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, recalled %t, exits %t", tt.name, recalled, exit), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						p := newPeer(t)
						l, b, w := p.lend(p.config())
						end := returns
						if exit {
							end = exits
						}
						tt.end(l)
						synctest.Wait()
						if recalled {
							if !l.Recall(w.loan) {
								t.Error("not recalled")
							}
						} else {
							b.expect(t, "message a x", "work")
							w.end <- end
						}
						p.playEnd(tt.rest)
						if err := b.wait(); !errors.Is(err, tt.err) || tt.err == nil && err != nil {
							t.Errorf("down with %v, want %v", err, tt.err)
						}
						if l.finish("b"); recalled {
							w.end <- end
						}
						synctest.Wait()
						b.expect(t, "message a x", "work", "down")
						expectNoTimers(t, l)
						if s := l.Stats(); s.Received != 1 || s.InFlight != 0 || s.Finished+s.Lost != 1 {
							t.Errorf("%+v", s)
						}
					})
				})
			}
		}
	}
}

// playEnd expects the rest of what the link writes, and ends the connection as nsqd does.
func (p *peer) playEnd(rest string) {
	p.t.Helper()
	p.expect(rest)
	if rest == fin("a")+"CLS\n" {
		p.send(closeWaitFrame)
	}
	p.expectEOF()
	_ = p.conn.Close()
}

// An abandoned link writes what is pending even if the loan does not end, and gives up
// waiting for nsqd's EOF, which the reader does not read.
func TestAbandonDuringEndlessLoan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lend(p.config())
		l.finish("a")
		l.Abandon()
		p.expect(fin("a"))
		p.expectEOF()
		pass(time.Hour)
		b.expect(t, "message a x", "work")
		w.end <- returns
		expectError(t, b.wait(), OpClose, errNoEOF)
	})
}

// A drain that waits for a message in a loan ends when that is given up, though no command
// follows.
func TestGiveUpDuringLoan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lend(p.config())
		l.Drain()
		p.expectWithheld()
		w.end <- returns
		p.expectSoon("CLS\n")
		w = p.lendAgain(b, "b")
		l.Recall(w.loan)
		p.send(closeWaitFrame)
		pass(time.Minute)
		l.Lose()
		p.expectWithheld()
		l.Expire()
		p.expectEOF()
		_ = p.conn.Close()
		if err := b.wait(); err != nil {
			t.Error(err)
		}
		w.end <- exits
	})
}

// nsqd closes, or refuses a command, while the reader is on loan: the owner learns of it
// when another goroutine reads, and the reason is nsqd's.
func TestPeerEndsDuringLoan(t *testing.T) {
	for _, recalled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPeer(t)
			l, b, w := p.lend(p.config())
			l.finish("a")
			p.send([]byte("\x00\x00\x00\x0d\x00\x00\x00\x01E_INVALID"))
			_ = p.conn.Close()
			synctest.Wait()
			b.expect(t, "message a x", "work")
			if recalled {
				l.Recall(w.loan)
			} else {
				w.end <- returns
			}
			expectRefusal(t, b.wait(), OpRead, "E_INVALID")
			if recalled {
				w.end <- returns
			}
			synctest.Wait()
			if n := p.network.Conns()[0].Closes(); n != 1 {
				t.Errorf("%d closes", n)
			}
		})
	}
}

// A Replier that ends the goroutine of a reader which was on loan before costs the link no
// reader.
func TestReplierExitsAfterLoan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, b, w := p.lend(p.config())
		w.end <- returns
		l.Pub("t", []byte("x"), leaver{b.replier("pub")})
		p.expectSoon("PUB t\n\x00\x00\x00\x01x")
		p.send(okFrame)
		w = <-b.begun
		w.end <- returns
		w = p.lendAgain(b, "b")
		w.end <- returns
		l.Close(nil)
		_ = b.wait()
		b.expect(t, "message a x", "work", "pub: OK", "work", "message b x", "work", "down")
	})
}

// A write that is under way when a loan begins writes what is appended during the loan.
func TestLoanDuringWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l := p.slow(p.config())
		b := newBorrower()
		l.Start(b)
		l.finish("1", "2")
		synctest.Wait() // the writer is stuck
		w := p.sendSlowly(b, "a")
		l.finish("3")
		p.expect(fin("1") + fin("2") + fin("3"))
		p.expectWithheld()
		w.end <- returns
		p.expectWithheld()
		l.Close(nil)
		_ = b.wait()
	})
}

// sendSlowly is lendAgain over a connection that holds less than a message.
func (p *peer) sendSlowly(b *borrower, name string) *lentWork {
	p.t.Helper()
	p.send(message(name, "x"))
	return <-b.begun
}
