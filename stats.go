package nsq

// ConsumerStats are a Consumer's counts since it was made. [Consumer.Snapshot]
// has more.
type ConsumerStats struct {
	MessagesReceived uint64 // deliveries, redeliveries included
	MessagesFinished uint64 // FINs given to a connection
	MessagesRequeued uint64 // REQs given to a connection
	Connections      int    // nsqds connected now
}
