package transcripts

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var seeds = flag.Int("seeds", 40, "how many random scripts of each kind to play")

// Random scripts have the same transcript with the fake and with the real nsqd.
func TestRandom(t *testing.T) {
	c := config{}
	c.server = startServer(t, c)
	for kind, generate := range map[string]func(*rand.Rand) source{"commands": randomCommands, "deliveries": randomDeliveries} {
		for seed := range *seeds {
			t.Run(fmt.Sprintf("%s %d", kind, seed), func(t *testing.T) {
				t.Parallel()
				busy <- struct{}{}
				defer func() { <-busy }()
				compare(t, c, generate(rand.New(rand.NewPCG(uint64(seed), 0))), "")
			})
		}
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomCommands returns commands of two clients, right and wrong, in any state. They
// consume t1 and publish to t2, so that no message depends on nsqd's timing.
func randomCommands(r *rand.Rand) source {
	left := 3 + r.IntN(8)
	identified := map[string]bool{}
	return func(*scene) (string, bool) {
		left--
		name := pick(r, "a", "a", "a", "b")
		command := randomCommand(r)
		// nsqtest's documentation has what differs if a client sends a second one.
		if strings.Contains(command, "IDENTIFY") {
			if identified[name] {
				command = "NOP"
			}
			identified[name] = true
		}
		return name + " " + command, left >= 0
	}
}

func randomCommand(r *rand.Rand) string {
	id := pick(r, "0123456789abcdef", "0123456789abcde", "", "0123456789abcdef0", "@@@@@@@@@@@@@@@@")
	number := pick(r, "0", "1", "2500", "2501", "-1", "007", "", "x", "3600000", "3600001",
		"9223372036854775807", "9223372036854775808", "18446744073709551616", fmt.Sprint(r.Uint64()))
	topic := pick(r, "t2", "t2", "t2", "t2", "a$", "", strings.Repeat("n", 65))
	size := fmt.Sprintf(`\x%02x\x%02x\x00\x%02x`, pick(r, 0, 0, 0, 0, 0x80), pick(r, 0, 0, 0, 1), r.IntN(6))
	tail := pick(r, "", "m", "mm", "mmmm", `\x00\x00\x00\x01m`, `\x00\x00\x00\x01\x00\x00\x00\x01m`)
	switch r.IntN(24) {
	case 0, 1:
		return "IDENTIFY " + randomIdentify(r)
	case 2:
		return "AUTH secret"
	case 3, 4, 5:
		return pick(r, "SUB t1 c", "SUB t1 c", "SUB t1 d", "SUB t1", "SUB", "SUB a$ c", "SUB t1 c$", "SUB  t1 c")
	case 6, 7:
		return "RDY " + number
	case 8:
		return "FIN " + id
	case 9:
		return "REQ " + id + " " + number
	case 10:
		return "TOUCH " + id
	case 11:
		return pick(r, "FIN", "REQ", "REQ "+id, "TOUCH", "RDY")
	case 12:
		return "CLS"
	case 13:
		return "NOP"
	case 14:
		return pick(r, "", " ", "nop", "FETCH", "SUBSCRIBE t1 c", "NOP\r", "\tNOP")
	case 15, 16:
		return fmt.Sprintf("PUB t2 %d*x", 1+r.IntN(100))
	case 17:
		return fmt.Sprintf("MPUB t2 m n %d*x", 1+r.IntN(100))
	case 18:
		return "DPUB t2 " + pick(r, "0", "3600000", "007") + " m"
	case 19:
		return fmt.Sprintf(`raw "PUB %s\n%s%s"`, topic, size, tail)
	case 20:
		return fmt.Sprintf(`raw "DPUB %s %s\n%s%s"`, topic, number, size, tail)
	case 21:
		return fmt.Sprintf(`raw "MPUB %s\n%s%s"`, topic, size, tail)
	case 22:
		return fmt.Sprintf(`raw "AUTH\n%s%s"`, size, tail)
	}
	return pick(r, "half", `raw "NO"`, `raw "P\nNOP\nNOP\n"`)
}

func randomIdentify(r *rand.Rand) string {
	fields := []string{
		fmt.Sprintf(`"feature_negotiation":%t`, r.IntN(2) == 0),
		fmt.Sprintf(`"heartbeat_interval":%d`, pick(r, -2, -1, 0, 999, 60000, 60001)),
		fmt.Sprintf(`"output_buffer_size":%d`, pick(r, -2, -1, 0, 63, 64, 65536, 65537)),
		fmt.Sprintf(`"output_buffer_timeout":%d`, pick(r, -2, -1, 0, 24, 25, 30000, 30001)),
		fmt.Sprintf(`"sample_rate":%d`, pick(r, -1, 0, 99, 100)),
		fmt.Sprintf(`"msg_timeout":%d`, pick(r, -1, 0, 999, 1000, 900000, 900001)),
		fmt.Sprintf(`"deflate_level":%d`, r.IntN(12)-1),
		`"tls_v1":true`, `"client_id":"id"`, `"client_id":5`, `"unknown":[]`,
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return "{" + strings.Join(fields[:r.IntN(4)], ",") + "}"
}
