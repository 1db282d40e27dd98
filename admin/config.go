package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Config returns the present value of an nsqd's flag, given by its name in nsqd's
// configuration file, such as max_rdy_count. Numbers, lists and booleans come as JSON, strings
// as they are, and durations as JSON in nanoseconds. An unknown name is an [*Error] with the
// message INVALID_OPTION.
func (c *Cluster) Config(ctx context.Context, nsqd, name string) (value string, err error) {
	err = c.request(ctx, http.MethodGet, nsqd, "/config/"+name, nil, nil, readAll(&value))
	return value, err
}

// SetConfig changes a flag of an nsqd until it restarts, and returns the new value as Config
// does. nsqd accepts nsqlookupd_tcp_addresses, a JSON list of strings, and log_level. nsqd
// connects to new nsqlookupds and leaves those that are missing in the list.
func (c *Cluster) SetConfig(ctx context.Context, nsqd, name, value string) (string, error) {
	var now string
	err := c.request(ctx, http.MethodPut, nsqd, "/config/"+name, nil, []byte(value), readAll(&now))
	return now, err
}

// readAll reads a response as text.
func readAll(dst *string) func(io.Reader) error {
	return func(r io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(r, maxMessage))
		if err != nil {
			return fmt.Errorf("invalid response: %w", err)
		}
		*dst = string(text)
		return nil
	}
}
