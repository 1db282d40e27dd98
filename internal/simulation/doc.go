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
// Then all that is broken is mended, and all that was stopped starts again. The tests check while
// the story runs and at the end:
//
//   - No message that a publisher was told is stored is lost, and each channel has handled it or
//     has buried it as a dead letter.
//   - No message is finished that was not handled.
//   - What a publisher was told is true: what was not stored is nowhere, and what is stored is
//     stored once.
//   - No more than max_in_flight messages are in flight, and no more handlers are at work.
//   - No handler begins a message whose lease is over.
//   - The counts of every Snapshot add up.
//   - All is handled soon after the last fault, and every stop ends in time.
//   - No goroutine, connection or timer is left.
//
// go test plays a few seeds. These commands play many, on all processors, and say every ten
// seconds how far they are; 10,000 take a minute or two on two cores, a million some three hours:
//
//	go -C internal/simulation test -timeout 0 -run TestSeeds -seeds 10000
//	go -C internal/simulation test -timeout 0 -run TestSeeds -seeds 1000000 -from 10001
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
