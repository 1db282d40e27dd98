package nsq

import (
	"strings"
	"testing"
)

// The default topic of dead letters names topic and channel, and is a valid name of a topic
// that is not ephemeral.
func TestDeadTopic(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, tt := range []struct{ topic, channel, want string }{
		{"orders", "billing", "orders.billing.dead"},
		{"orders#ephemeral", "billing#ephemeral", "orders.billing.dead"},
		{long[:50], long[:8], long[:50] + "." + long[:8] + ".dead"},
		{long[:50], long[:9], long[:50] + "-4b3f88b3.dead"},
		{long, "a", long[:50] + "-9a476fb0.dead"},
		{long, "b", long[:50] + "-9d477469.dead"},
	} {
		if got := deadTopic(tt.topic, tt.channel); got != tt.want || !IsValidTopicName(got) {
			t.Errorf("%s/%s: %s, want %s", tt.topic, tt.channel, got, tt.want)
		}
	}
}

func FuzzDeadTopic(f *testing.F) {
	f.Add("orders", "billing")
	f.Add("orders#ephemeral", "tail-1#ephemeral")
	f.Add(strings.Repeat("x", 64), "c")
	f.Add(strings.Repeat("x", 54)+"#ephemeral", strings.Repeat(".", 64))
	f.Add("a", "b")
	f.Fuzz(func(t *testing.T, topic, channel string) {
		if !IsValidTopicName(topic) || !IsValidChannelName(channel) {
			return
		}
		got := deadTopic(topic, channel)
		if !IsValidTopicName(got) || !strings.HasSuffix(got, ".dead") || strings.Contains(got, "#") || got == topic {
			t.Errorf("%s/%s: %s", topic, channel, got)
		}
		if other := deadTopic(topic, channel+"x"); other == got && IsValidChannelName(channel+"x") && !strings.HasSuffix(channel, "#ephemeral") {
			t.Errorf("channels %s and %sx of topic %s share %s", channel, channel, topic, got)
		}
	})
}
