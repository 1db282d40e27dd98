// Package simulation plays the whole system in virtual time: consumers, groups, producers, pools,
// batchers, dead letters and relays against fakes of nsqd and nsqlookupd, while networks and
// processes fail, configurations change and parts stop. It has tests only.
//
// A story is a text that a seed makes, and that says all that happens:
//
//	nsqd n1 timeout=1200
//	consumer c1 t1/x mif=10 handlers=3 fail=10
//	publisher p1 t1 kind=producer to=n1 messages=40 every=12
//	at 812 kill n1
//	at 1400 restart n1
//
// Then everything that is broken is mended, what was stopped starts again, and each nsqd and each
// publisher gets one more message. The tests check while the story runs and at its end:
//
//   - A message that a publisher was told is stored is not lost, and each channel has handled it or
//     has buried it as a dead letter. A crash or the deletion of a channel excuses a loss.
//   - An nsqd gets no FIN of a message that no handler has succeeded with.
//   - What a publisher was told is true: what was not stored is nowhere, and what is stored is
//     stored once.
//   - No more than max_in_flight messages are in flight, as nsqds see it, and no more handlers are
//     at work. The RDYs are no larger together, and 0 in a pause. The bodies in hand stay within
//     max_bytes_in_flight.
//   - No handler begins a message whose lease is over, going by when the network delivered it.
//   - Where nothing is wrong with nsqds and networks, no connection is lost, nsqd refuses no ack,
//     no message comes again that was handled in time, and none before the end of its delay.
//   - The counts of every Snapshot add up, and a publisher's agree with what it was told.
//   - Soon after the last fault all messages are handled, every publisher can publish again, and
//     every nsqd has its RDY.
//   - Every stop ends in time. It leaves no message, goroutine, connection or timer.
//
// go test plays a few seeds. These commands play many, on all processors, and say every ten
// seconds how far they are; 10,000 take a minute or two on two cores, a million some three hours:
//
//	go -C internal/simulation test -timeout 0 -run TestSeeds . -seeds 10000
//	go -C internal/simulation test -timeout 0 -run TestSeeds . -seeds 1000000 -from 10001
//
// This plays one seed, and this makes a seed that fails shorter, as long as it fails in the same
// way, and prints the story:
//
//	go test ./internal/simulation -run TestStory -seed 4711
//	go test ./internal/simulation -run TestShrink -seed 4711
//
// A story goes into testdata, where TestStories plays it from then on; -story plays or shrinks a
// file. A seed says when things happen, to the microsecond, and what each handler does with each
// message. It does not say how long the client waits where it adds jitter, nor in which order
// goroutines run at the same instant. Where these matter a story fails only now and then:
// -count plays it more often, and -tries says how often TestShrink tries.
package simulation
