package health_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/health"
)

// A program serves its probes with a few lines. This one also sends the requests, before its
// Consumer has connected: it is live, because a restart would not help, but not ready.
func Example() {
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	mux := http.NewServeMux()
	mux.Handle("/live", health.Live(consumer))
	mux.Handle("/ready", health.Ready(consumer))
	server := httptest.NewServer(mux) // a real program: go http.ListenAndServe(":8080", mux)
	defer server.Close()

	for _, probe := range []string{"/live", "/ready"} {
		response, err := http.Get(server.URL + probe)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			log.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			log.Fatal(err)
		}
		fmt.Print(response.StatusCode, " ", string(body))
	}
	// Output:
	// 200 {"status":"ok","checks":[]}
	// 503 {"status":"failing","checks":[{"name":"not_connected","error":"consumer of orders/billing: connected to no nsqd"}]}
}

// Readiness may depend on more than Consumers, such as a database.
func ExampleCheckerFunc() {
	consumer, err := nsq.NewConsumer("orders", "billing", nsq.NewConfig())
	if err != nil {
		log.Fatal(err)
	}
	defer consumer.Stop()
	database := health.CheckerFunc(func() error { // a real one: return db.Ping()
		return errors.New("database: too many connections")
	})
	checkers := []health.Checker{consumer, database}
	for _, probe := range []http.Handler{health.Live(checkers...), health.Ready(checkers...)} {
		w := httptest.NewRecorder()
		probe.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 {"status":"ok","checks":[]}
	// 503 {"status":"failing","checks":[{"name":"not_connected","error":"consumer of orders/billing: connected to no nsqd"},{"name":"other","error":"database: too many connections"}]}
}
