package flow

// checkInvariants checks what must hold after each event: the invariants of
// docs/DESIGN.md section 5. world.take checks what must hold when an RDY is written.
func (w *world) checkInvariants() {
	w.checkHeld()
	w.checkRDYs()
	w.checkWants()
	w.checkPause()
	w.checkProbe()
	w.checkSilence()
}

// checkRDYs: the sum of all RDYs is at most max_in_flight, and no connection has
// more than its nsqd takes.
func (w *world) checkRDYs() {
	sum := 0
	for _, c := range w.m.conns {
		n := w.conns[c.id]
		sum += c.rdy
		switch {
		case n == nil || !n.up || n.draining != c.draining:
			w.Fatalf("%v: the machine has %+v of %+v", w.clock(), *c, n)
		case c.rdy != n.sent:
			w.Fatalf("%v: RDY %d was sent to %s, the machine has %d", w.clock(), n.sent, n.name, c.rdy)
		case c.rdy > c.maxRDY || c.draining && c.rdy+c.want > 0:
			w.Fatalf("%v: RDY %d, %d slots wanted for %s, which takes fewer", w.clock(), c.rdy, c.want, n.name)
		case c.held < c.rdy:
			w.Fatalf("%v: %s holds %d slots with RDY %d", w.clock(), n.name, c.held, c.rdy)
		}
	}
	if sum > w.max || len(w.m.conns) != len(w.conns) {
		w.Fatalf("%v: sum of RDYs %d, max_in_flight %d, %d connections, want %d", w.clock(), sum, w.max, len(w.m.conns), len(w.conns))
	}
}

// checkHeld: no more messages are in hand or on the way than Held returns, whatever nsqd
// sends before a lower RDY has reached it.
func (w *world) checkHeld() {
	inFlight := 0
	for _, n := range w.conns {
		inFlight += n.held + n.coming
	}
	if held := w.m.Held(); 2*w.delay < settleTime && inFlight > held {
		w.Fatalf("%v: %d messages in flight, %d held", w.clock(), inFlight, held)
	}
}

// checkWants: all slots are given out, as far as connections can take them.
func (w *world) checkWants() {
	m := w.m
	if m.stale {
		return // a plan is pending
	}
	wants, take, waiting := 0, 0, 0
	for _, c := range m.conns {
		if c.draining {
			continue
		}
		wants += c.want
		take += c.maxRDY
		if c.place != nowhere {
			waiting++
		}
		if m.mode >= turning && (c.want == 0) != (c.place != nowhere) {
			w.Fatalf("%v: in turns, neither served nor waiting, or both: %+v", w.clock(), *c)
		}
	}
	if wants != min(m.limit(), take) {
		w.Fatalf("%v: %d of %d slots are given out, connections can take %d", w.clock(), wants, m.limit(), take)
	}
	if queued := m.turns.cold.len() + m.turns.hot.len(); waiting != queued || m.mode < turning && waiting > 0 {
		w.Fatalf("%v: %d connections wait, %d are in queues", w.clock(), waiting, queued)
	}
}

// checkSilence: turns are slow only after no message came for a while, are no faster for
// long after that, and listen for the next message while they are slow.
func (w *world) checkSilence() {
	m, s := w.m, w.m.turns.silence
	silent := w.now.Sub(w.lastArrival)
	switch {
	case s.slow && (m.mode != turning || !m.lookAt.IsZero() || !m.Listening()):
		w.Fatalf("%v: slow turns in mode %d, next look %v, listening %v", w.clock(), m.mode, m.lookAt, m.Listening())
	case s.slow && silent < slowAfter:
		w.Fatalf("%v: slow turns %v after a message", w.clock(), silent)
	case !s.slow && m.mode == turning && !m.stale && w.now.Sub(s.since) > slowAfter+slowWithin+2*visitTime:
		w.Fatalf("%v: turns at full speed after %v of silence", w.clock(), w.now.Sub(s.since))
	}
}

// checkPause: during a pause every RDY is 0.
func (w *world) checkPause() {
	if !w.m.backoff.pausing {
		return
	}
	for _, n := range w.nodes {
		if n.sent > 0 {
			w.Fatalf("%v: RDY %d of %s during a pause", w.clock(), n.sent, n.name)
		}
	}
}

// checkProbe: after a pause at most one message is in flight or can come, besides
// those that came before the pause.
func (w *world) checkProbe() {
	if w.m.backoff.level == 0 || w.m.backoff.pausing {
		w.unreported = 0
		return
	}
	if w.m.cfg.Adaptive || w.delay >= assumedDelay {
		return
	}
	asked, came := 0, 0
	for _, n := range w.nodes {
		asked += n.sent
	}
	for a := range w.inHand {
		switch {
		case a.generation != a.n.generation:
		case a.epoch == w.m.Epoch():
			came++
		case a.n.sent > 0:
			asked--
		}
	}
	if asked > 1+w.unreported || came > 1+w.unreported {
		w.Fatalf("%v: a probe of RDY %d besides older messages, and %d messages", w.clock(), asked, came)
	}
}
