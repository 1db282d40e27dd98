package discover

import (
	"strings"
	"testing"
)

// N24: an address that is refused shows neither password nor token, in whatever way it is
// malformed, and still tells which nsqlookupd is meant.
func TestRefusedAddressesShowNoSecrets(t *testing.T) {
	for _, addr := range []string{
		"http://user:s3cret@l:x", "http://user:s3cret @l:1", "http://user:s3/cret@l:1/lookup", "http://user:s3?cret@l:1",
		"http://l:s3/?token=s3cret", "http://l:1/%zz?token=s3cret", "ftp://user:s3cret@l:1", "ftp://l:1?token=s3cret",
		"l?token=s3cret", "user:s3cret@l", "http://user:s3@cret@l:y", "http://s3cret@l:z",
	} {
		_, err := ParseAddr(addr)
		if err == nil {
			t.Errorf("%s is accepted", addr)
			continue
		}
		if text := strings.ReplaceAll(err.Error(), "l:s3", "l:"); strings.Contains(text, "s3") || strings.Contains(text, "cret") || !strings.Contains(text, "l") {
			t.Errorf("%s: error %v", addr, err)
		}
	}
}

// N24: nor do the failures of requests, for the nsqds of a topic or for all of them.
func TestFailuresShowNoSecrets(t *testing.T) {
	for _, topic := range []string{"t", ""} {
		t.Run(topic, func(t *testing.T) { failuresShowNoSecrets(t, topic) })
	}
}

func failuresShowNoSecrets(t *testing.T, topic string) {
	t.Helper()
	inScene(t, func(s *scene) {
		s.cfg.Topic = topic
		l := s.lookupd("l:1")
		s.poller("http://user:s3cret@l:1/lookup?token=s3cret", "http://s3cret@l:1", "http://gone:1/?token=s3cret")
		l.Fail(403, "NO\n\x1b[2J")
		sleep(3 * s.cfg.Interval)
		failed := 0
		for _, r := range s.published() {
			for _, err := range r.Failed {
				failed++
				for _, text := range []string{err.Error(), err.Err.Error(), err.Lookupd} {
					if strings.Contains(text, "s3cret") || strings.ContainsAny(text, "\n\x1b") {
						t.Errorf("%q", text)
					}
				}
			}
		}
		if failed < 3 {
			t.Errorf("%d failures, want those of all three", failed)
		}
	})
}
