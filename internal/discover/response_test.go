package discover

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// v1Response is a response of nsqlookupd at HEAD (2025-01), which also lists the
// topology of the nsqds.
const v1Response = `{"channels":["archive"],"producers":[` +
	`{"remote_address":"172.16.0.2:52644","hostname":"host-b","broadcast_address":"host-b.local","tcp_port":4150,"http_port":4151,"version":"1.3.0","topology_zone":"z1","topology_region":"r1"},` +
	`{"remote_address":"[fd00::7]:40212","hostname":"host-a","broadcast_address":"fd00::7","tcp_port":4250,"http_port":4251,"version":"1.2.1"}]}`

var v1Producers = []Producer{
	{Addr: "host-b.local:4150", Hostname: "host-b", Version: "1.3.0", TopologyZone: "z1", TopologyRegion: "r1"},
	{Addr: "[fd00::7]:4250", Hostname: "host-a", Version: "1.2.1"},
}

func entry(host, port string) string {
	return `{"remote_address":"r:1","hostname":"h","broadcast_address":` + host + `,"tcp_port":` + port + `}`
}

func listing(entries ...string) string { return `{"producers":[` + strings.Join(entries, ",") + `]}` }

func TestParseResponse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		v1     bool
		body   string
		want   []Producer
		err    string // empty if there is none
	}{
		{"v1", 200, true, v1Response, v1Producers, ""},
		{"v1 without its header", 200, false, v1Response, v1Producers, ""},
		{"envelope", 200, false, `{"status_code":200,"status_txt":"OK","data":` + v1Response + `}`, v1Producers, ""},
		{"envelope and the header of v1", 200, true, `{"status_code":200,"data":` + v1Response + `}`, nil, errNoProducers.Error()},
		{"an envelope in an envelope", 200, false, `{"data":{"data":{"a":"a long one that leaves no room for"},"producers":[]}}`, nil, ""},
		{"no producers", 200, true, `{"channels":[],"producers":[]}`, nil, ""},
		{"null producers", 200, true, `{"producers":null}`, nil, ""},
		{"empty", 200, true, "", nil, ""},
		{"blank", 200, false, " \n", nil, ""},
		{"unknown topic", 404, true, `{"message":"TOPIC_NOT_FOUND"}`, nil, ""},
		{"unknown topic, header lost", 404, false, `{"message":"TOPIC_NOT_FOUND"}`, nil, ""},
		{"unknown topic in an envelope", 500, false, `{"status_code":500,"status_txt":"TOPIC_NOT_FOUND","data":null}`, nil, ""},
		{"lowest and highest port", 200, true, listing(entry(`"a"`, "1"), entry(`"b"`, "65535")),
			[]Producer{{Addr: "a:1", Hostname: "h"}, {Addr: "b:65535", Hostname: "h"}}, ""},
		{"bracketed IPv6", 200, true, listing(entry(`"[::1]"`, "4150")), []Producer{{Addr: "[::1]:4150", Hostname: "h"}}, ""},

		{"wrong path", 404, true, `{"message":"NOT_FOUND"}`, nil, "HTTP status 404: NOT_FOUND"},
		{"a proxy's 404", 404, false, "default backend - 404", nil, "HTTP status 404 Not Found"},
		{"a proxy's empty 404", 404, false, "", nil, "HTTP status 404 Not Found"},
		{"error", 500, true, `{"message":"INTERNAL_ERROR"}`, nil, "HTTP status 500: INTERNAL_ERROR"},
		{"error in an envelope", 500, false, `{"status_code":500,"status_txt":"MISSING_ARG_TOPIC","data":null}`, nil, "HTTP status 500: MISSING_ARG_TOPIC"},
		{"error only in the envelope", 200, false, `{"status_code":500,"status_txt":"NO","data":null}`, nil, "HTTP status 500: NO"},
		{"error with another message", 503, false, `{"message":5}`, nil, "HTTP status 503 Service Unavailable"},
		{"error with the longest message", 500, true, `{"message":"` + strings.Repeat("x", 200) + `"}`, nil, "HTTP status 500: " + strings.Repeat("x", 200)},
		{"error with a longer message", 500, true, `{"message":"` + strings.Repeat("x", 201) + `"}`, nil, "HTTP status 500: " + strings.Repeat("x", 200)},
		{"redirect to nowhere", 302, false, "", nil, "HTTP status 302 Found"},
		{"no content", 204, true, "", nil, "HTTP status 204 No Content"},
		{"HTML", 200, false, "<html>login</html>", nil, "invalid character '<' looking for beginning of value"},
		{"truncated", 200, true, v1Response[:len(v1Response)/2], nil, "unexpected end of JSON input"},
		{"JSON of another service", 200, false, `{"status":"ok"}`, nil, errNoProducers.Error()},
		{"null", 200, true, "null", nil, errNoProducers.Error()},
		{"an array", 200, true, "[]", nil, "json: cannot unmarshal array into Go value of type discover.document"},
		{"producers not a list", 200, true, `{"producers":{"a":1}}`, nil, "producers are not a list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, skipped, err := parseResponse(tt.status, tt.v1, []byte(tt.body))
			if err != nil && err.Error() != tt.err || err == nil && tt.err != "" {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if !slices.Equal(got, tt.want) || skipped != nil {
				t.Errorf("producers %+v, skipped %v, want %+v", got, skipped, tt.want)
			}
		})
	}
}

func TestUnusableProducersAreSkipped(t *testing.T) {
	good := entry(`"good"`, "4150")
	for _, tt := range []struct{ name, entry, err string }{
		{"no address", entry(`""`, "4150"), `producer "h" ("r:1") ignored: no broadcast_address`},
		{"only brackets", entry(`"[]"`, "4150"), `producer "h" ("r:1") ignored: no broadcast_address`},
		{"half a bracket", entry(`"a[b"`, "1"), `producer "h" ("r:1") ignored: broadcast_address "a[b" has a '['`},
		{"no port", entry(`"a"`, "0"), `producer "h" ("r:1") ignored: tcp_port out of range`},
		{"unix socket", entry(`"a"`, "-1"), `producer "h" ("r:1") ignored: tcp_port out of range`},
		{"large port", entry(`"a"`, "65536"), `producer "h" ("r:1") ignored: tcp_port out of range`},
		{"port as text", entry(`"a"`, `"4150"`),
			`producer "h" ("r:1") ignored: json: cannot unmarshal string into Go struct field producer.tcp_port of type int`},
		{"null", "null", `producer "" ("") ignored: no broadcast_address`},
		{"a string", `"nsqd"`, `producer "" ("") ignored: json: cannot unmarshal string into Go value of type discover.producer`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, skipped, err := parseResponse(200, true, []byte(listing(tt.entry, good)))
			if err != nil || len(got) != 1 || got[0].Addr != "good:4150" {
				t.Errorf("producers %+v, error %v, want the good one", got, err)
			}
			if len(skipped) != 1 || skipped[0].Error() != tt.err {
				t.Errorf("skipped %v, want %s", skipped, tt.err)
			}
		})
	}
}

// At most ten unusable producers of a response are reported, with at most 200 bytes of
// each name.
func TestSkippedIsBounded(t *testing.T) {
	unusable := func(nameLen int) string {
		name := strings.Repeat("x", nameLen)
		return `{"remote_address":"` + name + `","hostname":"` + name + `"}`
	}
	for n, want := range map[int]int{10: 10, 11: 10} {
		body := listing(append(slices.Repeat([]string{unusable(1)}, n), entry(`"a"`, "1"))...)
		producers, skipped, err := parseResponse(200, true, []byte(body))
		if err != nil || len(producers) != 1 || len(skipped) != want {
			t.Errorf("%d unusable: %d skipped, producers %v, error %v; want %d skipped", n, len(skipped), producers, err, want)
		}
	}
	for n, want := range map[int]int{200: 200, 201: 200} {
		_, skipped, err := parseResponse(200, true, []byte(listing(unusable(n))))
		if err != nil || len(skipped) != 1 || len(skipped[0].Hostname) != want || len(skipped[0].RemoteAddress) != want {
			t.Errorf("names of %d bytes: skipped %v, error %v; want %d bytes of each", n, skipped, err, want)
		}
	}
}

func TestParseTopics(t *testing.T) {
	many := `{"topics":["a"` + strings.Repeat(`,"a"`, maxTopics) + `]}`
	for _, tt := range []struct {
		name   string
		status int
		v1     bool
		body   string
		want   []string
		err    string // empty if there is none
	}{
		{"v1", 200, true, `{"topics":["a","b#ephemeral"]}`, []string{"a", "b#ephemeral"}, ""},
		{"envelope", 200, false, `{"status_code":200,"status_txt":"OK","data":{"topics":["a"]}}`, []string{"a"}, ""},
		{"none", 200, true, `{"topics":[]}`, []string{}, ""},
		{"null", 200, true, `{"topics":null}`, nil, ""},

		{"empty", 200, true, "", nil, "unexpected end of JSON input"},
		{"nsqds", 200, true, `{"producers":[]}`, nil, errNoTopics.Error()},
		{"no names", 200, true, `{"topics":[1]}`, nil, "json: cannot unmarshal number into Go value of type string"},
		{"no list", 200, true, `{"topics":{}}`, nil, "json: cannot unmarshal object into Go value of type []string"},
		{"error", 500, true, `{"message":"INTERNAL_ERROR"}`, nil, "HTTP status 500: INTERNAL_ERROR"},
		{"unknown topic", 404, true, `{"message":"TOPIC_NOT_FOUND"}`, nil, "HTTP status 404: TOPIC_NOT_FOUND"},
		{"too many", 200, true, many, nil, errTooManyTopics.Error()},
	} {
		got, err := parseTopics(tt.status, tt.v1, []byte(tt.body))
		if text := errText(err); text != tt.err || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, error %q, want %q, %q", tt.name, got, text, tt.want, tt.err)
		}
	}
}

func FuzzParseTopics(f *testing.F) {
	f.Add(uint16(200), true, []byte(`{"topics":["a","b"]}`))
	f.Add(uint16(200), false, []byte(`{"status_code":200,"data":{"topics":["a"]}}`))
	f.Add(uint16(500), false, []byte(`{"message":"NO"}`))
	f.Fuzz(func(t *testing.T, status uint16, v1 bool, body []byte) {
		got, err := parseTopics(int(status), v1, body)
		if err != nil && got != nil || len(got) > maxTopics {
			t.Errorf("%d topics, error %v", len(got), err)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Any response is either an error or a list of addresses that can be dialled. The
// list is the same in an envelope.
func FuzzParseLookup(f *testing.F) {
	f.Fuzz(func(t *testing.T, status uint16, v1 bool, body []byte) {
		got, skipped, err := parseResponse(int(status), v1, body)
		if err != nil && (got != nil || skipped != nil) {
			t.Errorf("producers %+v, skipped %v, with error %v", got, skipped, err)
		}
		for _, p := range got {
			host, port, err := net.SplitHostPort(p.Addr)
			if n, _ := strconv.Atoi(port); err != nil || host == "" || n < 1 || n > 65535 {
				t.Errorf("address %q cannot be dialled", p.Addr)
			}
			if strings.HasPrefix(p.Addr, "unix:") || strings.Trim(strconv.QuoteToGraphic(p.Addr), `"`) != p.Addr ||
				strings.ContainsAny(p.Addr, " /@\\?#") {
				t.Errorf("address %q is not host and port", p.Addr)
			}
		}
		if len(got) == 0 || !v1 {
			return
		}
		wrapped := slices.Concat([]byte(`{"status_code":200,"data":`), body, []byte(`}`))
		if again, _, err := parseResponse(200, false, wrapped); err != nil || !slices.Equal(again, got) {
			t.Errorf("in an envelope %+v, error %v; bare %+v", again, err, got)
		}
	})
}
