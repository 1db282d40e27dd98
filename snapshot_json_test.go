package nsq

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

// N26: the errors of snapshots are text in JSON, and the other fields are as they are
// without a MarshalJSON.
func TestSnapshotsAsJSON(t *testing.T) {
	asJSON := func(v any) map[string]any {
		t.Helper()
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	conn := ConnectionSnapshot{
		Addr: "a:1", State: ConnectionUp, RDY: 5, LastMessage: time.Unix(1, 0).UTC(), LastError: errors.New("reset by \"peer\""),
		Counts: Counts{Received: 7},
	}
	type plainConn ConnectionSnapshot
	producer := ProducerSnapshot{
		Addr: "b:1", State: ProducerConnected, Pending: 2, PendingBytes: 200,
		ProducerCounts: ProducerCounts{Published: 3, Unknown: 1, Connects: 4}, LastError: ErrNotConnected,
	}
	type plainMember struct {
		plainProducerSnapshot
		Healthy bool
	}
	member := PoolMember{ProducerSnapshot: producer, Healthy: true}
	for _, tc := range []struct{ got, want map[string]any }{
		{asJSON(conn), asJSON(plainConn(conn))},
		{asJSON(&conn), asJSON(plainConn(conn))},
		{asJSON(producer), asJSON(plainProducerSnapshot(producer))},
		{asJSON(member), asJSON(plainMember{plainProducerSnapshot(producer), true})},
		{asJSON(&member), asJSON(plainMember{plainProducerSnapshot(producer), true})},
	} {
		if _, ok := tc.want["LastError"].(map[string]any); !ok {
			t.Fatalf("without MarshalJSON: %v", tc.want)
		}
		text, _ := tc.got["LastError"].(string)
		if text != conn.LastError.Error() && text != producer.LastError.Error() {
			t.Errorf("LastError is %v", tc.got["LastError"])
		}
		delete(tc.got, "LastError")
		delete(tc.want, "LastError")
		if !reflect.DeepEqual(tc.got, tc.want) {
			t.Errorf("got  %v\nwant %v", tc.got, tc.want)
		}
	}
	if got, ok := asJSON(ConnectionSnapshot{})["LastError"]; !ok || got != nil {
		t.Errorf("without an error: %v", got)
	}
	if got := asJSON(member); got["State"] != "connected" || got["Published"] != 3.0 || got["Healthy"] != true {
		t.Errorf("a member: %v", got)
	}
	if got, ok := asJSON(PoolMember{})["LastError"]; !ok || got != nil {
		t.Errorf("without an error: %v", got)
	}
	whole := asJSON(Snapshot{Connections: []ConnectionSnapshot{conn}})
	if got := whole["Connections"].([]any)[0].(map[string]any)["LastError"]; got != conn.LastError.Error() {
		t.Errorf("in a Snapshot: %v", got)
	}
	transaction := asJSON(&ProducerTransaction{Error: ErrStopped, Cause: ErrNotSent, Args: []any{1}})
	if transaction["Error"] != "stopped" || transaction["Cause"] != ErrNotSent.Error() || !reflect.DeepEqual(transaction["Args"], []any{1.0}) {
		t.Errorf("a transaction: %v", transaction)
	}
	if got := asJSON(ProducerTransaction{}); got["Error"] != nil {
		t.Errorf("a transaction without an error: %v", got)
	}
}
