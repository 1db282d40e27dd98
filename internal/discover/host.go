package discover

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// unixHost is a host that cannot be used: in an address of package nsq, "unix:" begins
// the path of a socket.
const unixHost = "unix"

// maxHost is the length of the longest name in DNS.
const maxHost = 253

// dialAddr returns the address of an nsqd, which is always one of TCP: a host name or an
// IP address, and a port. It is strict, because any process that reaches nsqlookupd can
// have it list an address, which is then dialled and logged.
func dialAddr(broadcast string, port int) (string, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(broadcast, "["), "]") // an IPv6 address may be in brackets
	switch {
	case host == "":
		return "", errNoAddress
	case port < 1 || port > 65535:
		return "", errPort
	case len(host) > maxHost:
		return "", errLongHost
	case host == unixHost:
		return "", errUnixHost
	}
	name := host
	if ip, err := netip.ParseAddr(host); err == nil {
		name = ip.Zone()
	}
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r) || r == unicode.ReplacementChar {
			return "", fmt.Errorf("broadcast_address %q has a %q", host, r)
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
