// Package nsqtest replaces an NSQ cluster in the tests of applications. It has
// fake nsqds and nsqlookupds, any number of each, and an in-memory network on
// which a client reaches them.
//
//	network := nsqtest.NewNetwork()
//	d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
//	cfg := nsq.NewConfig()
//	cfg.DialContext = network.DialContext
//	// Make a consumer with cfg and connect it to d.Addr(). Then:
//	d.Publish("topic", "first", "second")
//	d.WaitFor(10*time.Second, func() bool {
//		return d.Stats("topic", "channel").Finished == 2
//	})
//
// In a testing/synctest bubble everything runs in virtual time: a minute's
// message timeout passes at once, and synctest.Wait returns when nothing is left
// to do. Make the network, the nsqds and the client inside the bubble. Events of
// one nsqd that are due at the same instant run in a fixed order: heartbeats,
// then the ends of message timeouts and delays in the order they were set, then
// the closing of clients that sent no command in time.
//
// Without a Network an nsqd listens on loopback TCP, for tests in real time.
//
// # What the fakes do
//
// A fake [Nsqd] treats consumers and producers as nsqd 1.3.0 does:
//
//   - IDENTIFY, with its checks and its reply, and AUTH.
//   - SUB, CLS, and RDY as the limit of what is in flight on a connection.
//   - FIN, REQ and TOUCH, with their limits and errors; message timeouts and
//     attempts. The messages of a lost connection stay in flight until they
//     time out.
//   - PUB, MPUB and DPUB; paused and ephemeral channels.
//   - Heartbeats. A client that completes no command for two intervals is closed.
//
// Where nsqd leaves something open, the fake always does the same: it serves ready
// clients in turn, ends timeouts and delays exactly, and sends a message before the reply
// to the command that brought it.
//
// A fake [Lookupd] responds over HTTP as nsqlookupd 1.3.0 does or, if the
// [LookupdOptions] ask for it, as versions before 1.0 did. It lists what the
// test registers. A client reaches it with [Network.HTTPClient].
//
// # Differences from nsqd
//
// A suite plays the same scripts with the fake and with nsqd 1.3.0, and finds no
// difference but these:
//
//   - output buffer: the fake sends a message at once, whatever IDENTIFY asks for, so
//     that no test waits for a buffer.
//   - sampling: the fake delivers every message in spite of a sample rate. Which ones
//     nsqd drops is random.
//   - TLS and compression: the fake grants them only if the [Options] offer them. nsqd
//     offers compression by default.
//   - authorization: a client that has sent the secret may do everything. nsqd asks an
//     auth server what it may do.
//   - memory: the fake queues any number of messages. nsqd drops those of an ephemeral
//     topic or channel beyond its mem-queue-size.
//   - second IDENTIFY: the fake obeys all of it. nsqd obeys a part, and for the rest keeps
//     the settings of the first. No client sends two.
//   - fields of other versions: IDENTIFY's short_id, long_id, topology_region and
//     topology_zone must be strings. nsqd 1.3.0 ignores them, others do not.
//
// The fake has methods for what nsqd's HTTP API does to channels, but none to pause or
// delete a topic.
//
// # Differences from nsqlookupd
//
// The same holds for nsqlookupd 1.3.0, with these differences:
//
//   - administration: the fake accepts no POST requests, and has no /debug. A test calls
//     methods instead.
//   - wildcard: a topic named * is unknown. nsqlookupd responds with all topics.
//
// # Faults
//
// Commands: [Nsqd.Inject] replaces what the nsqd does about the commands that you
// choose. [Nsqd.Reject] covers the most common case: an error as the reply.
// [Nsqd.Resend] delivers a message twice.
//
// Connections: [Nsqd.CutAfterSent] and [Nsqd.CutAfterReceived] break one after a
// number of bytes, [Nsqd.Disconnect] breaks one at once. [Nsqd.Send] writes raw
// bytes to one.
//
// The whole nsqd: [Nsqd.StopReading] and [Nsqd.StopHeartbeats] make it look hung,
// [Nsqd.Kill] and [Nsqd.Restart] take it down and bring it back.
//
// Dials: [Network.Refuse] and [Network.Blackhole] make them fail or hang.
//
// nsqlookupd: [Lookupd.Hang], [Lookupd.Fail], [Lookupd.Reply] and
// [Lookupd.Handle] replace its responses, [Lookupd.Kill] takes it down.
//
// For peers that break the protocol's rules see package nsqtest/hostile.
//
// [Network.Dials], [Network.Closes] and [Network.OpenConns] show whether a client
// closes what it opens.
package nsqtest
