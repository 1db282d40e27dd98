package nsq_test

import (
	"context"
	"encoding/xml"
	"fmt"

	"github.com/rdyhq/nsq"
)

// xmlCodec is a Codec. One for protobuf, msgpack or another format looks the same.
type xmlCodec struct{}

var _ nsq.Codec = xmlCodec{}

func (xmlCodec) Marshal(v any) ([]byte, error)      { return xml.Marshal(v) }
func (xmlCodec) Unmarshal(body []byte, v any) error { return xml.Unmarshal(body, v) }

type item struct {
	Name string `xml:"name,attr"`
}

// A program encodes its messages as XML.
func ExampleCodec() {
	handler := nsq.Typed(xmlCodec{}, func(_ context.Context, i item, _ *nsq.Message) error {
		fmt.Println(i.Name)
		return nil
	})
	fmt.Println(handler.HandleMessage(nsq.NewMessage(nsq.MessageID{}, []byte(`<item name="pen"/>`))))
	// Output:
	// pen
	// <nil>
}
