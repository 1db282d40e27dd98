package envelope_test

import (
	"fmt"

	"github.com/rdyhq/nsq/envelope"
)

// An envelope is readable as it is, for example in the output of rdy tail.
func Example() {
	sealed := envelope.Seal(envelope.Header{
		"content-type": "application/json",
		"traceparent":  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"error":        "dial tcp 10.0.0.7:5432: refused\nretries: 3",
	}, []byte(`{"order":17}`))
	fmt.Printf("%s\n", sealed)

	header, body, ok := envelope.Open(sealed)
	fmt.Println("---", ok)
	fmt.Println(header.Get("Content-Type"))
	fmt.Println(header.Get("error"))
	fmt.Printf("%s\n", body)

	header, body, ok = envelope.Open([]byte("a plain body"))
	fmt.Println("---", ok)
	fmt.Printf("%d headers, %s\n", len(header), body)
	// Output:
	// NSQ-Envelope: 1
	// content-type: application/json
	// error: "dial tcp 10.0.0.7:5432: refused\nretries: 3"
	// traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	//
	// {"order":17}
	// --- true
	// application/json
	// dial tcp 10.0.0.7:5432: refused
	// retries: 3
	// {"order":17}
	// --- false
	// 0 headers, a plain body
}
