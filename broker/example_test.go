package broker_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/rdyhq/nsq/broker"
)

func Example() {
	b, err := broker.Start(context.Background(), broker.Options{NSQDs: 2, Lookupds: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range b.NSQDs() {
		resp, err := http.Post("http://"+n.HTTPAddr+"/pub?topic=orders", "", strings.NewReader("a message"))
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		fmt.Printf("%s\n", body)
	}
	if err := b.Stop(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// OK
	// OK
}
