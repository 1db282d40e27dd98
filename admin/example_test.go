package admin_test

import (
	"context"
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
