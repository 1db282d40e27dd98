//go:build linux

package uitest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// prometheus knows depths of a week, but for one day, and nothing of other spans.
func prometheus(t *testing.T) *httptest.Server {
	const weekStep = 1680
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number := func(name string) int { n, _ := strconv.Atoi(r.FormValue(name)); return n }
		if number("step") != weekStep {
			_, _ = fmt.Fprint(w, `{"status":"error","error":"too <b>busy</b>"}`)
			return
		}
		var values []string
		for at, end := number("start"), number("end"); at <= end; at += weekStep {
			if left := end - at; left < 3*86400 || left > 4*86400 {
				values = append(values, fmt.Sprintf(`[%d,"4321"]`, at))
			}
		}
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"result":[{"metric":{"figure":"depth"},"values":[%s]}]}}`, strings.Join(values, ","))
	}))
	t.Cleanup(server.Close)
	return server
}

// A chart says where its figures come from, of which times it has none, and why it has not what
// was asked for. As a table it says so in words.
func TestCharts(t *testing.T) {
	t.Parallel()
	n := startNSQD(t)
	n.create("orders", "billing")
	n.publish("orders", 3)
	site := serve(t, []*nsqd{n}, "--prometheus", prometheus(t).URL)
	b := open(t)
	b.load(site.url + "/topics/orders/billing?range=7d")
	b.text(".source", "From Prometheus at 127.0.0.1:")
	b.shows("a drawn chart", `document.querySelectorAll(".chart canvas").length === 2`)
	b.shows("a label", `document.querySelector(".chart").ariaLabel.includes(": not known.")`)
	b.eval(`document.querySelector(".as-table").click()`)
	b.text(".chart table", "not known")
	b.text(".chart table", "4,321")
	b.eval(`document.querySelector(".as-table").click()`)
	b.shows("a drawn chart again", `document.querySelectorAll(".chart canvas").length === 2`)

	b.eval(`[...document.querySelectorAll("[data-range]")].find((a) => a.textContent === "24 h").click()`)
	b.text(".source", "has no figures: it says too <b>busy</b>. These figures are from the memory of rdy ui.")
	b.shows("what the memory has", `document.querySelector(".legend .depth b").textContent === "3"`)
	b.eval(`[...document.querySelectorAll("[data-range]")].find((a) => a.textContent === "1 h").click()`)
	b.shows("no source", `document.querySelector(".source").hidden`)
	b.is("stuck, draining, empty", `worstFirst([{text: "empty", mark: ""}, {text: "draining", mark: "notice"}, {text: "stuck", mark: "critical"}]).map((m) => m.text).join(", ")`)
}
