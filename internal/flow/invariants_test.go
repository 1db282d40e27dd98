package flow

// checkInvariants checks what must hold after each event: invariants of
// docs/DESIGN.md section 5. What must hold at the moment an RDY is written is
// checked by take.
func (w *world) checkInvariants() {
	w.checkRDYs()
	w.checkWants()
	w.checkPause()
	w.checkProbe()
}

// checkRDYs: never more than max_in_flight in all, and none for who cannot take it.
func (w *world) checkRDYs() {
	sum := 0
	for _, c := range w.m.conns {
		n := w.conns[c.id]
		sum += c.rdy
		switch {
		case n == nil || !n.up || n.draining != c.draining:
			w.Fatalf("%v: %+v is not what %+v is", w.clock(), *c, n)
		case c.rdy != n.sent:
			w.Fatalf("%v: RDY %d of %s is known as %d", w.clock(), n.sent, n.name, c.rdy)
		case c.rdy > c.maxRDY || c.draining && c.rdy+c.want > 0:
			w.Fatalf("%v: RDY %d, want %d of %s", w.clock(), c.rdy, c.want, n.name)
		case c.held < c.rdy:
			w.Fatalf("%v: %s holds %d of %d", w.clock(), n.name, c.held, c.rdy)
		}
	}
	if sum > w.max || len(w.m.conns) != len(w.conns) {
		w.Fatalf("%v: RDY %d in all, max_in_flight %d, %d connections of %d", w.clock(), sum, w.max, len(w.m.conns), len(w.conns))
	}
}

// checkWants: all slots are given out, if there is who can take them.
func (w *world) checkWants() {
	m := w.m
	if m.stale {
		return // the plan is to be made
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
		if m.mode == turning && (c.want == 0) != (c.place != nowhere) {
			w.Fatalf("%v: in turns, %+v", w.clock(), *c)
		}
	}
	if wants != min(m.limit(), take) {
		w.Fatalf("%v: %d slots are given out of %d, %d can be taken", w.clock(), wants, m.limit(), take)
	}
	if queued := m.turns.cold.len() + m.turns.hot.len(); waiting != queued || m.mode != turning && waiting > 0 {
		w.Fatalf("%v: %d wait, %d in queues", w.clock(), waiting, queued)
	}
}

// checkPause: no RDY in a pause.
func (w *world) checkPause() {
	if !w.m.backoff.pausing {
		return
	}
	for _, n := range w.nodes {
		if n.sent > 0 {
			w.Fatalf("%v: RDY %d of %s in a pause", w.clock(), n.sent, n.name)
		}
	}
}

// checkProbe: after it at most one message, until that is answered, besides what
// came before the pause.
func (w *world) checkProbe() {
	if w.m.backoff.level == 0 || w.m.backoff.pausing {
		w.untold = 0
		return
	}
	if w.m.cfg.Adaptive || w.delay >= settleTime {
		return
	}
	asked, came := 0, 0
	for _, n := range w.nodes {
		asked += n.sent
	}
	for a := range w.hands {
		switch {
		case a.generation != a.n.generation:
		case a.epoch == w.m.Epoch():
			came++
		case a.n.sent > 0:
			asked--
		}
	}
	if asked > 1+w.untold || came > 1+w.untold {
		w.Fatalf("%v: RDY %d beyond what was in flight and %d messages for a probe", w.clock(), asked, came)
	}
}
