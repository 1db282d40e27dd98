// Package nsqtest has what tests of NSQ applications need instead of a cluster:
// any number of fake nsqds and nsqlookupds, and a network within the process to
// reach them.
//
//	network := nsqtest.NewNetwork()
//	d := nsqtest.NewNsqd(t, nsqtest.Options{Network: network})
//	cfg := nsq.NewConfig()
//	cfg.DialContext = network.DialContext
//	// make a consumer with cfg, connect it to d.Addr(), then:
//	d.Publish("topic", "first", "second")
//	d.WaitFor(10*time.Second, func() bool { return d.Stats("topic", "channel").Finished == 2 })
//
// Within a testing/synctest bubble all of it works in virtual time: a minute's
// message timeout takes no time, and synctest.Wait tells that everything there
// was to do is done. All of it must be made in the bubble. What
// falls due at an nsqd at one moment happens in a fixed order there: heartbeats,
// then messages in the order their timeouts were set, then clients given up.
// Without a Network an nsqd listens on loopback TCP, for tests in real time.
//
// # What the fake does
//
// It behaves as nsqd 1.3.0 does towards consumers and producers: IDENTIFY with
// its checks and its reply, AUTH, SUB, RDY as the ceiling of what is in flight
// on a connection, FIN, REQ and TOUCH with their limits and errors, message
// timeouts, attempts, heartbeats and the closing of connections that do not
// answer them, CLS, PUB, MPUB, DPUB, paused and ephemeral channels. A lost
// connection's messages stay in flight until they time out.
//
// It differs where a test wants to be sure: messages are sent at once rather
// than held in an output buffer, ready clients take turns, timeouts are exact,
// and nothing is sampled. TLS and compression are granted only if the [Options]
// offer them; [NewCA] makes certificates.
//
// A [Lookupd] answers over HTTP as nsqlookupd 1.3.0 does, or as one before 1.0. A
// client reaches it in the network with [Network.HTTPClient]. What it lists is up
// to the test.
//
// # What goes wrong on demand
//
// [Nsqd.Inject] replaces what happens about chosen commands, [Nsqd.Reject]
// being the common case. [Nsqd.CutAfterSent] and [Nsqd.CutAfterReceived] break a
// connection at a byte, [Nsqd.Disconnect] at once. [Nsqd.StopReading] and
// [Nsqd.StopHeartbeats] make an nsqd hang, [Nsqd.Kill] and [Nsqd.Restart] make it
// go and come back, [Nsqd.Send] makes it talk nonsense. [Network.Refuse] and
// [Network.Blackhole] are about dialling. A Lookupd has [Lookupd.Hang],
// [Lookupd.Fail], [Lookupd.Reply] and [Lookupd.Handle], and can be killed, too.
//
// [Network.Dials], [Network.Closes] and [Network.OpenConns] show whether a
// client closes what it opens.
package nsqtest
