package nsq

import (
	"strings"
	"testing"

	"github.com/rdyhq/nsq/internal/story"
)

// TestQueueStories plays the stories in testdata/queue in virtual time. The README
// there lists the events.
func TestQueueStories(t *testing.T) {
	story.Play(t, "testdata/queue/*.txt", "queue", func(t *testing.T, words []string) story.Player {
		p := newQueuePlayer(t, words)
		return func(words []string) []string { return p.tell(strings.Join(words, " ")) }
	})
}
