// Package hostile has an nsqd and responses of an nsqlookupd that break the rules, for
// tests of what a client does about them: floods, frames that announce gigabytes,
// compression bombs, odd message IDs, peers that read nothing or say nothing.
//
// An [Nsqd] accepts connections and plays a script on each. The script does the
// handshake with [Peer.Greet] or [Peer.Subscribe], and then sends and reads what it
// likes:
//
//	network := nsqtest.NewNetwork()
//	d := hostile.NewNsqd(t, hostile.Options{Network: network}, func(p *hostile.Peer) {
//		if p.Subscribe() && p.Flood(hostile.Heartbeat, 100<<20) {
//			p.Hang()
//		}
//	})
//
// Everything else of a test, from the network to well-behaved nsqds, comes from package
// nsqtest. Scripts run in virtual time in a testing/synctest bubble, as the fakes there
// do. Time does not pass during a flood, since some goroutine is always busy.
//
// For an nsqlookupd, [Listing], [Drip], [Bomb] and [Endless] return handlers for
// nsqtest.Lookupd.Handle. What can be said in plain JSON, such as odd hosts, needs only
// nsqtest.Lookupd.RegisterProducer or nsqtest.Lookupd.Reply.
package hostile
