package main

import (
	"slices"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

// idHelp is about the ids that commands take.
const idHelp = `Name a letter by the id that "rdy dead list" shows. Two nsqds can use the same id. If both
have such a letter, rdy changes nothing until you name one: add @ and the TCP address of its
nsqd to the id, as in 0f3a5c1b2d4e6f70@127.0.0.1:4150.`

// parseDeadIDs returns the ids in arguments, each once.
func parseDeadIDs(cmd *cobra.Command, args []string) (ids []letters.ID, err error) {
	for _, arg := range args {
		id, nsqd, located := strings.Cut(arg, "@")
		isID := len(id) == nsq.MsgIDLength && strings.Trim(id, "0123456789abcdef") == ""
		if !isID || located && !isHostPort(nsqd) {
			return nil, usage(cmd, "invalid id %q: want 16 hexadecimal digits, and perhaps @ and an nsqd's host:port", arg)
		}
		if named := (letters.ID{ID: id, NSQD: nsqd}); !slices.Contains(ids, named) {
			ids = append(ids, named)
		}
	}
	return ids, nil
}
