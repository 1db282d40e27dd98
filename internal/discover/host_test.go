package discover

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// N6: an address is a host name or an IP address, and a port.
func TestDialAddr(t *testing.T) {
	long := strings.Repeat("x", 253)
	for host, want := range map[string]string{
		"a": "a:1", "a-b.c_d.example.": "a-b.c_d.example.:1", "10.0.0.7": "10.0.0.7:1", long: long + ":1",
		"::1": "[::1]:1", "[::1]": "[::1]:1", "fe80::1%eth0": "[fe80::1%eth0]:1", "bücher.example": "bücher.example:1",
		"UNIX": "UNIX:1", "unix.example": "unix.example:1",
	} {
		if got, err := dialAddr(host, 1); got != want || err != nil {
			t.Errorf("%q: %q and %v, want %q", host, got, err, want)
		}
	}
	for _, host := range []string{
		"", "[]", "unix", "[unix]", "unix:/run/x", "/run/nsqd.sock", "a/b", "a:1", "[a:1", "a b", "a\n", "\x1b[31m", "a\x00",
		"a\u202eb", "a\ufffd", "a@b", "a%0a", "::1%\n", "::1%a b", "a,b", `a"b`, long + "x",
	} {
		if got, err := dialAddr(host, 1); err == nil {
			t.Errorf("%q: accepted as %q", host, got)
		} else if strings.ContainsAny(err.Error(), "\n\x1b\x00\u202e") || len(err.Error()) > 400 {
			t.Errorf("%q: error %q", host, err)
		}
	}
	for _, port := range []int{-1, 0, 65536} {
		if got, err := dialAddr("a", port); !errors.Is(err, errPort) {
			t.Errorf("port %d: %q, %v", port, got, err)
		}
	}
}

// N6: what is logged about a skipped producer is quoted.
func TestSkippedIsQuoted(t *testing.T) {
	text := `"\nERR forged\u001b[31m"`
	body := listing(fmt.Sprintf(`{"remote_address":%s,"hostname":%s,"broadcast_address":%s,"tcp_port":1}`, text, text, text))
	_, skipped, err := parseResponse(200, true, []byte(body))
	if err != nil || len(skipped) != 1 || strings.ContainsAny(skipped[0].Error(), "\n\x1b") {
		t.Errorf("%v, %q", err, skipped)
	}
}

// N5: a response lists 100,000 nsqds at most.
func TestListingIsBounded(t *testing.T) {
	for n, want := range map[int]error{maxProducers: nil, maxProducers + 1: ErrTooMany, 3 * maxProducers: ErrTooMany} {
		var body strings.Builder
		body.WriteString(`{"producers":[{}`)
		for i := range n - 1 {
			fmt.Fprintf(&body, `,{"broadcast_address":"n%d","tcp_port":1}`, i)
		}
		body.WriteString("]}")
		producers, skipped, err := parseResponse(200, true, []byte(body.String()))
		if !errors.Is(err, want) || err == nil && (len(producers) != n-1 || len(skipped) != 1) {
			t.Errorf("%d nsqds: %d producers, %v", n, len(producers), err)
		}
	}
}
