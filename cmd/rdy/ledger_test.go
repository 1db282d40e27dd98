package main

import (
	"bytes"
	"testing"

	"github.com/rdyhq/nsq"
)

func TestBodies(t *testing.T) {
	for _, size := range []int{numberLen, numberLen + 1, 200} {
		b := newBodies(1000, size, "run")
		for _, number := range []int{0, 1, 999} {
			body := b.body(number)
			if got, ok := b.number(body); len(body) != size || !ok || got != number {
				t.Errorf("body %d of %d bytes is %q, which has number %d, %v", number, len(body), body, got, ok)
			}
		}
	}
	b := newBodies(1000, 20, "run")
	for _, body := range [][]byte{
		nil,
		[]byte("hello"),
		b.body(1000),
		b.body(1)[:19],
		append(b.body(1), 'x'),
		bytes.Replace(b.body(1), []byte("0"), []byte("+"), 1),
		bytes.Replace(b.body(1), []byte("run"), []byte("Run"), 1),
	} {
		if n, ok := b.number(body); ok {
			t.Errorf("foreign body %q has number %d", body, n)
		}
	}
}

func TestLedger(t *testing.T) {
	b := newBodies(3, 20, "run")
	l := newLedger(b, []string{"a", "b"})
	message := func(nsqd string, id byte, body []byte) *nsq.Message {
		return &nsq.Message{NSQDAddress: nsqd, ID: nsq.MessageID{id}, Body: body}
	}
	l.recordPublished("a", 2)
	l.recordPublished("b", 1)

	l.recordFailure(message("a", 1, b.body(0)))
	l.recordFailure(message("a", 1, b.body(0)))
	l.recordSuccess(message("a", 1, b.body(0)))
	l.recordSuccess(message("a", 2, b.body(1)))
	l.recordSuccess(message("a", 2, b.body(1))) // a duplicate
	l.recordFailure(message("a", 2, b.body(1))) // leaves the message handled
	got := l.totals()
	if got.last.IsZero() {
		t.Error("the time of the last handled message is zero")
	}
	got.last = totals{}.last
	if want := (totals{published: 3, handled: 2, requeued: 3, duplicates: 1, missing: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}

	// Foreign messages, two of them with the same ID on different nsqds.
	l.recordFailure(message("a", 9, []byte("hi")))
	l.recordSuccess(message("a", 9, []byte("hi")))
	l.recordSuccess(message("b", 9, []byte("hi")))
	l.recordSuccess(message("b", 9, []byte("hi")))
	l.recordSuccess(message("b", 3, b.body(2)))
	got = l.totals()
	got.last = totals{}.last
	if want := (totals{published: 5, handled: 5, requeued: 4, duplicates: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := l.account("a"), (account{Address: "a", Published: 3, Handled: 3, Requeued: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := l.account("b"), (account{Address: "b", Published: 2, Handled: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
