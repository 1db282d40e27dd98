package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// statsClient keeps no connection open.
var statsClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// depth returns how many messages an nsqd holds for a channel: queued, deferred,
// in flight, and still in the topic's queue.
func depth(ctx context.Context, httpAddr, topic, channel string) (int, error) {
	url := fmt.Sprintf("http://%s/stats?format=json&include_mem=false&include_clients=false&topic=%s", httpAddr, topic)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := statsClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var stats struct {
		Topics []struct {
			Depth    int `json:"depth"`
			Channels []struct {
				Name     string `json:"channel_name"`
				Depth    int    `json:"depth"`
				InFlight int    `json:"in_flight_count"`
				Deferred int    `json:"deferred_count"`
			} `json:"channels"`
		} `json:"topics"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		return 0, fmt.Errorf("statistics of nsqd %s: %w", httpAddr, err)
	}
	n := 0
	for _, t := range stats.Topics {
		n += t.Depth
		for _, c := range t.Channels {
			if c.Name == channel {
				n += c.Depth + c.InFlight + c.Deferred
			}
		}
	}
	return n, nil
}
