package main

import (
	"errors"
	"unicode/utf8"

	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

// deadShow shows a letter.
type deadShow struct {
	dead
	raw bool
}

func newDeadShow(a *app) *cobra.Command {
	s := &deadShow{dead: dead{app: a}}
	cmd := &cobra.Command{
		Use:   "show TOPIC ID (--lookupd address | --nsqd-http address)",
		Short: "Show a dead letter with its body",
		Long: `Show the headers and the original body of a dead letter. Control characters are shown as
escapes such as \x1b, except tabs and newlines of the body. With --raw print the body
alone, byte for byte.

The JSON is a letter of "rdy dead list --json", with body, or body_base64 if the body is
not valid UTF-8.`,
		Example: `  rdy dead show orders.billing.dead 0f3a5c1b2d4e6f70 --lookupd 127.0.0.1:4161
  rdy dead show orders.billing.dead 0f3a5c1b2d4e6f70 --lookupd 127.0.0.1:4161 --raw | jq .`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(cmd, "want a topic and an id, got %s", figures.Things(len(args), "argument"))
			}
			if _, err := parseDeadIDs(cmd, args[1:]); err != nil {
				return err
			}
			return oneTopic(cmd, args[:1])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&s.raw, "raw", false, "print the body alone, byte for byte")
	return s.command(cmd, []string{idHelp, deadHelp}, func(cmd *cobra.Command, t *target, args []string) error {
		if s.raw && s.json {
			return usage(cmd, "--raw and --json exclude each other, and so do --raw, --jq and --template")
		}
		cfg, err := s.clientConfig(cmd)
		if err != nil {
			return err
		}
		ids, err := parseDeadIDs(cmd, args[1:])
		if err != nil {
			return err
		}
		found, err := s.find(cmd.Context(), t, args[0])
		if err != nil {
			return err
		}
		s.tell(found)
		_, err = letters.With(cmd.Context(), found.Queues, cfg, ids, s.show)
		return errors.Join(err, incomplete(found.missing))
	})
}

// deadShowResult is what "rdy dead show --json" prints.
type deadShowResult struct {
	deadLetter
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

func (s *deadShow) show(l *letters.Letter) error {
	if s.raw {
		_, err := s.stdout.Write(l.Body)
		return err
	}
	r := deadShowResult{deadLetter: newDeadLetter(l)}
	if utf8.Valid(l.Body) {
		r.Body = string(l.Body)
	} else {
		r.BodyBase64 = l.Body
	}
	return s.print(&r, func() []byte { return r.text(l.Body) })
}
