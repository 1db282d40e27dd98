package control

import (
	"testing"

	"github.com/rdyhq/nsq/internal/story"
)

// TestStories plays the stories in testdata. The README there lists the events.
func TestStories(t *testing.T) {
	story.Play(t, "testdata/*.txt", "consumer", func(t *testing.T, words []string) story.Player {
		return newPlayer(t, words).play
	})
}
