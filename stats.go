package nsq

import "github.com/rdyhq/nsq/internal/link"

// ConsumerStats are a Consumer's counts since it was made.
type ConsumerStats struct {
	MessagesReceived uint64 // deliveries, redeliveries included
	MessagesFinished uint64 // FINs given to a connection
	MessagesRequeued uint64 // REQs given to a connection
	Connections      int    // nsqds connected now
}

func (s *ConsumerStats) add(l link.Stats) {
	s.MessagesReceived += l.Received
	s.MessagesFinished += l.Finished
	s.MessagesRequeued += l.Requeued
}
