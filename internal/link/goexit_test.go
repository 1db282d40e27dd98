package link

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// leaver is a Replier whose Reply ends its goroutine.
type leaver struct{ Replier }

func (e leaver) Reply(data []byte, err error) {
	e.Replier.Reply(data, err)
	runtime.Goexit()
}

// A Replier that calls runtime.Goexit costs no reply: neither the replies that nsqd sends,
// in the same read or later, nor those that Repliers get when the link ends.
func TestRepliersMayEndTheirGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		l, r := p.connect(p.config())
		for _, name := range []string{"first", "second", "third", "fourth", "fifth", "sixth"} {
			l.Pub("t", []byte("x"), leaver{r.replier(name)})
		}
		synctest.Wait()
		p.send(okFrame, okFrame)
		synctest.Wait()
		p.send(message("m", "body"), okFrame)
		synctest.Wait()
		l.Close(nil)
		if err := r.wait(); err != nil {
			t.Error(err)
		}
		r.expect(t, "first: OK", "second: OK", "message m body", "third: OK", "fourth: unanswered, sent true",
			"fifth: unanswered, sent true", "sixth: unanswered, sent true", "down")
	})
}
