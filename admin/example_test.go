package admin_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/rdyhq/nsq/admin"
)

// A program prints each channel that grows, every ten seconds. It goes on if some daemons do not
// respond, and says so.
func Example() {
	cluster := &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161", "nsqlookupd-2:4161"}}
	ctx := context.Background()
	var before *admin.View
	for range time.Tick(10 * time.Second) {
		view, err := cluster.Poll(ctx)
		if err != nil {
			log.Print("figures are missing: ", err)
		}
		if before != nil {
			for _, channel := range admin.Between(before, view).Channels {
				if channel.Growth > 0 {
					fmt.Printf("%s/%s grows by %.1f messages a second\n", channel.Topic, channel.Channel, channel.Growth)
				}
			}
		}
		before = view
	}
}

// A program prints topics, where their messages were published, and their channels.
func ExampleView() {
	cluster := recorded() // a program: &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161"}}
	view, err := cluster.Poll(context.Background())
	if err != nil {
		fmt.Println("figures are missing:", view.Partial())
	}
	for _, topic := range view.Topics {
		fmt.Println(topic.Name, "depth", topic.Depth, "paused", topic.Paused)
		for _, on := range topic.NSQDs {
			fmt.Println("  published at", on.NSQD, on.Messages)
		}
		for _, channel := range topic.Channels {
			fmt.Println("  channel", channel.Name, "backlog", channel.Backlog(), "consumers", channel.ClientCount)
		}
	}
	// Output:
	// figures are missing: true
	// clicks depth 2 paused true
	//   published at nsqd.example:5151 2
	// orders depth 0 paused false
	//   published at nsqd.example:5151 6
	//   channel archive backlog 6 consumers 0
	//   channel billing backlog 1 consumers 1
	//   channel fraud backlog 6 consumers 1
}

// A program finds the consumers of a channel that do not keep up.
func ExampleCluster_PollClients() {
	cluster := recorded() // a program: &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161"}}
	view, err := cluster.PollClients(context.Background(), "orders", "fraud")
	if err != nil {
		fmt.Println("figures are missing:", view.Partial())
	}
	for _, client := range view.Topic("orders").Channel("fraud").Clients {
		if client.InFlight >= client.RDY {
			fmt.Println(client.ID, client.UserAgent, "is full: it acked", client.Finished, "of", client.Messages)
		}
	}
	// Output:
	// figures are missing: true
	// worker-1 go-nsq/1.1.0 is full: it acked 0 of 2
}

// A program prints the rates of topics.
func ExampleRates() {
	cluster := &admin.Cluster{NSQDs: []string{"nsqd-1:4151"}}
	ctx := context.Background()
	earlier, err := cluster.Poll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	later, err := cluster.Poll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, topic := range admin.Between(earlier, later).Topics {
		fmt.Printf("%s: %.0f messages and %.0f bytes a second\n", topic.Topic, topic.Published, topic.Bytes)
	}
}

// A program prints the nsqds, and what is published to each.
func ExampleNSQD() {
	cluster := recorded() // a program: &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161"}}
	view, err := cluster.PollClients(context.Background(), "", "")
	if err != nil {
		fmt.Println("figures are missing:", view.Partial())
	}
	for _, nsqd := range view.NSQDs {
		fmt.Println(nsqd.TCPAddr(), nsqd.Version, nsqd.Health)
		for _, publisher := range nsqd.Publishers {
			for _, published := range publisher.Published {
				fmt.Println("publisher of", published.Topic, "-", published.Messages, "messages")
			}
		}
	}
	// Output:
	// figures are missing: true
	// nsqd.example:5150 1.3.0 OK
	// publisher of orders - 1 messages
}

// A program alerts on the memory of nsqds.
func ExampleMemory() {
	cluster := &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161"}, Memory: true}
	view, err := cluster.Poll(context.Background())
	if err != nil {
		log.Print("figures are missing: ", err)
	}
	for _, nsqd := range view.NSQDs {
		if m := nsqd.Memory; m != nil && m.HeapInUse > 4<<30 {
			fmt.Println(nsqd.Addr, "uses", m.HeapInUse>>20, "MiB")
		}
	}
}

// A program prints how long messages take from publish to ack. nsqd must run with
// --e2e-processing-latency-percentile.
func ExampleQuantile() {
	cluster := &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161"}}
	view, err := cluster.Poll(context.Background())
	if err != nil {
		log.Print("figures are missing: ", err)
	}
	for _, topic := range view.Topics {
		for _, channel := range topic.Channels {
			for _, on := range channel.NSQDs {
				for _, q := range on.Latency {
					fmt.Printf("%s/%s at %s: %g of the messages within %.3f s\n", topic.Name, channel.Name, on.NSQD, q.Quantile, q.Seconds)
				}
			}
		}
	}
}

// A program checks that nsqlookupds agree.
func ExampleLookupd() {
	cluster := recorded() // a program: &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161", "nsqlookupd-2:4161"}}
	view, err := cluster.Poll(context.Background())
	if err != nil {
		fmt.Println("figures are missing:", view.Partial())
	}
	for _, lookupd := range view.Lookupds {
		fmt.Println(lookupd.Addr, "responds:", lookupd.Error == "")
		for _, nsqd := range lookupd.Registered {
			fmt.Println("  lists", nsqd.TCPAddr(), "for", nsqd.Topics, "but not for", nsqd.Tombstoned)
		}
	}
	// Output:
	// figures are missing: true
	// lookupd-1:4161 responds: true
	//   lists nsqd.example:5150 for [clicks orders] but not for [clicks]
	// lookupd-2:4161 responds: false
}

// A program says which daemons have not responded, and why.
func ExampleError() {
	cluster := recorded() // a program: &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161", "nsqlookupd-2:4161"}}
	_, err := cluster.Poll(context.Background())
	var failed *admin.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Addr, failed.Op, failed.Status)
	}
	// Output: lookupd-2:4161 GET /nodes 0
}

// A program pauses a channel, deletes the messages that wait in it, and unpauses it. The error
// names each daemon that has failed.
func ExampleCluster_EmptyChannel() {
	cluster := &admin.Cluster{Lookupds: []string{"nsqlookupd-1:4161", "nsqlookupd-2:4161"}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, do := range []func(ctx context.Context, topic, channel string) error{
		cluster.PauseChannel, cluster.EmptyChannel, cluster.UnpauseChannel,
	} {
		if err := do(ctx, "orders", "archive"); errors.Is(err, admin.ErrNotFound) {
			log.Fatal("no nsqd has the channel")
		} else if err != nil {
			log.Print(err)
		}
	}
}
