package discover

import (
	"errors"
	"testing"
)

func TestParseAddr(t *testing.T) {
	for _, tt := range []struct{ addr, want, request string }{
		{"127.0.0.1:4161", "http://127.0.0.1:4161/lookup", "http://127.0.0.1:4161/lookup?topic=t%23ephemeral"},
		{"lookup.local:4161", "http://lookup.local:4161/lookup", "http://lookup.local:4161/lookup?topic=t%23ephemeral"},
		{"[::1]:4161", "http://[::1]:4161/lookup", "http://[::1]:4161/lookup?topic=t%23ephemeral"},
		{":4161", "http://:4161/lookup", "http://:4161/lookup?topic=t%23ephemeral"},
		{"h:4161/", "http://h:4161/lookup", "http://h:4161/lookup?topic=t%23ephemeral"},
		{"http://h:4161", "http://h:4161/lookup", "http://h:4161/lookup?topic=t%23ephemeral"},
		{"HTTP://h:4161/#x", "http://h:4161/lookup", "http://h:4161/lookup?topic=t%23ephemeral"},
		{"http://h:4161/nsq/lookup", "http://h:4161/nsq/lookup", "http://h:4161/nsq/lookup?topic=t%23ephemeral"},
		{"https://h", "https://h/lookup", "https://h/lookup?topic=t%23ephemeral"},
		{"https://h/?dc=eu&topic=other", "https://h/lookup?dc=eu&topic=other", "https://h/lookup?dc=eu&topic=t%23ephemeral"},
		{"https://u:secret@h", "https://u:secret@h/lookup", "https://u:secret@h/lookup?topic=t%23ephemeral"},
	} {
		u, err := ParseAddr(tt.addr)
		if err != nil {
			t.Errorf("%s: %v", tt.addr, err)
			continue
		}
		if got := u.String(); got != tt.want {
			t.Errorf("%s: URL %s, want %s", tt.addr, got, tt.want)
		}
		if got := lookupURL(u, "t#ephemeral"); got != tt.request {
			t.Errorf("%s: lookup URL %s, want %s", tt.addr, got, tt.request)
		}
	}
}

func TestBesideLookup(t *testing.T) {
	for addr, want := range map[string]string{
		"h:4161":                   "http://h:4161/nodes",
		"https://h/nsq/lookup?a=b": "https://h/nsq/nodes?a=b",
		"https://h/a%2Fb/lookup":   "https://h/a%2Fb/nodes",
		"https://h/all?dc=eu":      "https://h/all?dc=eu",
	} {
		u, err := ParseAddr(addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if got := besideLookup(u, "nodes").String(); got != want {
			t.Errorf("%s: nodes URL %s, want %s", addr, got, want)
		}
	}
}

func TestParseAddrRefuses(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"", "[] missing host"},
		{"host", "[host] missing port"},
		{"host:", "[host:] missing port"},
		{"host/lookup", "[host/lookup] missing port"},
		{"host:http", `[host:http] invalid port ":http" after host`},
		{"https://", "[https://] missing host"},
		{"http:///lookup", "[http:///lookup] missing host"},
		{"ftp://h:4161", "[ftp://h:4161] scheme is neither http nor https"},
		{"a b:4161", `[a b:4161] invalid character " " in host name`},
	} {
		u, err := ParseAddr(tt.addr)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: URL %v, error %v, want %q", tt.addr, u, err, tt.want)
		}
		if _, typed := errors.AsType[*Error](err); !typed {
			t.Errorf("%q: %T, want an *Error", tt.addr, err)
		}
	}
}
