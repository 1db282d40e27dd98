package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxValue bounds the value of a flag. It is nsqd's own default bound.
const maxValue = 1 << 20

// Config returns the present value of an nsqd's flag. name is that of nsqd's configuration file,
// such as max_rdy_count. A string comes as it is, any other value as JSON: a duration in
// nanoseconds, and log_level as a number from 1 (debug) to 5 (fatal). An unknown name is an
// [*Error] with the message INVALID_OPTION.
func (c *Cluster) Config(ctx context.Context, nsqd, name string) (value string, err error) {
	err = c.request(ctx, http.MethodGet, c.withPassword(nsqd), "/config/"+name, nil, nil, readAll(&value))
	return value, err
}

// SetConfig changes a flag of an nsqd until its next restart, and returns the new value as Config
// does. nsqd lets two flags be changed: log_level, to debug, info, warn, error or fatal, and
// nsqlookupd_tcp_addresses, to a JSON list of strings. nsqd then connects to the nsqlookupds that
// are new in the list, and disconnects from those that the list lacks.
func (c *Cluster) SetConfig(ctx context.Context, nsqd, name, value string) (string, error) {
	var now string
	err := c.request(ctx, http.MethodPut, c.withPassword(nsqd), "/config/"+name, nil, []byte(value), readAll(&now))
	return now, err
}

// readAll reads a response as text.
func readAll(dst *string) func(io.Reader) error {
	return func(r io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(r, maxValue+1))
		switch {
		case err != nil:
			return fmt.Errorf("invalid response: %w", err)
		case len(text) > maxValue:
			return errors.New("response of more than 1 MiB")
		}
		*dst = string(text)
		return nil
	}
}
