//go:build linux || darwin

package broker

import (
	"io"
	"testing"
)

// No client can keep a broker from stopping: neither one that has connected and
// sends nothing, nor one in the middle of NSQ's protocol, nor one that keeps an
// HTTP connection alive.
func TestStopWithClients(t *testing.T) {
	b := start(t, Options{Lookupds: 1, Admin: true})
	n := b.NSQDs()[0]
	publish(t, n)
	for _, test := range []struct{ addr, opening, reply string }{
		{n.TCPAddr, "", ""},
		{n.TCPAddr, "  ", ""},
		{n.TCPAddr, "  V2", ""},
		{n.TCPAddr, "  V2SUB orders archive\nRDY 1\n", subscribed},
		{b.lookupds[0].tcp, "", ""},
		{b.lookupds[0].tcp, "  V1", ""},
		{n.HTTPAddr, "", ""},
		{b.LookupdHTTPAddrs()[0], "GET /pi", ""},
		{b.AdminAddr(), "GET /ping HTTP/1.1\r\n", ""},
	} {
		receive(t, dial(t, test.addr, test.opening), test.reply)
	}
	stop(t, b)
}

// Stop closes the connections of its own daemons only.
func TestStopSparesOthers(t *testing.T) {
	other := start(t, Options{})
	conn := dial(t, other.NSQDs()[0].TCPAddr, "  V2")

	b := start(t, Options{})
	dial(t, b.NSQDs()[0].TCPAddr, "")
	stop(t, b)

	if _, err := io.WriteString(conn, "SUB orders archive\n"); err != nil {
		t.Fatal(err)
	}
	receive(t, conn, subscribed)
}
