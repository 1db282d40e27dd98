package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/rdyhq/nsq/cmd/rdy/internal/letters"
	"github.com/spf13/cobra"
)

// idHelp is about the ids that commands take.
const idHelp = `Name a letter by the id that "rdy dead list" shows. Two nsqds can use the same id. If both
have such a letter, rdy changes nothing until you name one: add @ and the TCP address of its
nsqd to the id, as in 0f3a5c1b2d4e6f70@127.0.0.1:4150.`

// deadID names a letter.
type deadID struct {
	id   string
	nsqd string // empty for any
}

func (d deadID) String() string {
	if d.nsqd != "" {
		return d.id + "@" + d.nsqd
	}
	return d.id
}

func (d deadID) names(l *letters.Letter) bool {
	return d.id == l.ID && (d.nsqd == "" || d.nsqd == l.NSQD)
}

// parseDeadIDs returns the ids in arguments, each once.
func parseDeadIDs(cmd *cobra.Command, args []string) (ids []deadID, err error) {
	for _, arg := range args {
		id, nsqd, located := strings.Cut(arg, "@")
		isID := len(id) == nsq.MsgIDLength && strings.Trim(id, "0123456789abcdef") == ""
		if !isID || located && !isHostPort(nsqd) {
			return nil, usage(cmd, "invalid id %q: want 16 hexadecimal digits, and perhaps @ and an nsqd's host:port", arg)
		}
		if named := (deadID{id, nsqd}); !slices.Contains(ids, named) {
			ids = append(ids, named)
		}
	}
	return ids, nil
}

// readDead calls visit for each letter of the queues, until it returns false or an error. The
// letters go back when an nsqd's are read, except those that visit finishes. doubtful is how
// many of these may still be there. batch is how many letters are taken at a time.
func readDead(ctx context.Context, queues []letters.Queue, batch int, cfg *nsq.Config, visit func(*letters.Letter) (more bool, err error)) (doubtful int, err error) {
	more := true
	for _, q := range queues {
		if !more {
			break
		}
		look, openErr := letters.Open(ctx, q, batch, cfg)
		if openErr != nil {
			err = errors.Join(err, openErr)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		var readErr error
		more, readErr = readLook(ctx, look, q, visit)
		doubtful += look.Close()
		err = errors.Join(err, readErr)
	}
	return doubtful, err
}

// readLook calls visit for each letter of a look. Its result more reports whether those of
// other nsqds should be read.
func readLook(ctx context.Context, look *letters.Look, q letters.Queue, visit func(*letters.Letter) (bool, error)) (more bool, err error) {
	for {
		letter, err := look.Next(ctx)
		if errors.Is(err, io.EOF) {
			return true, missingLetters(q, look.Missing())
		}
		if err != nil {
			return ctx.Err() == nil, err
		}
		if more, err := visit(letter); !more || err != nil {
			return false, err
		}
	}
}

// missingError reports that letters have not come.
type missingError struct {
	queue letters.Queue
	n     int64
}

func (e *missingError) Error() string {
	return fmt.Sprintf("nsqd %s: %s did not come: other consumers of channel %s may have taken them", e.queue.Addr, countedLetters(e.n), e.queue.Channel)
}

func missingLetters(q letters.Queue, n int64) error {
	if n == 0 {
		return nil
	}
	return &missingError{q, n}
}

// withDead finds the letters with these ids and calls do with each, while all of them are
// held. It does nothing if an id is not found, or is that of letters on two nsqds.
func withDead(ctx context.Context, queues []letters.Queue, cfg *nsq.Config, ids []deadID, do func(*letters.Letter) error) (doubtful int, err error) {
	var looks []*letters.Look
	defer func() {
		for _, look := range slices.Backward(looks) {
			doubtful += look.Close()
		}
	}()
	found := make(map[deadID][]*letters.Letter)
	done := complete(ids, found, len(queues))
	var missing error
	for _, q := range queues {
		if done() {
			break
		}
		if !slices.ContainsFunc(ids, func(id deadID) bool { return id.nsqd == "" || id.nsqd == q.Addr }) {
			continue
		}
		look, err := letters.Open(ctx, q, letters.MaxBatch, cfg)
		if err != nil {
			return 0, err
		}
		looks = append(looks, look)
		_, err = readLook(ctx, look, q, keepNamed(ids, found, done))
		if _, ok := errors.AsType[*missingError](err); ok {
			missing = errors.Join(missing, err)
		} else if err != nil {
			return 0, err
		}
	}
	chosen, err := chosenOf(ids, found)
	if err != nil {
		return 0, errors.Join(err, missing)
	}
	for _, letter := range chosen {
		if err := do(letter); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// keepNamed returns a function that keeps the letters with these ids, until done reports that
// all were found.
func keepNamed(ids []deadID, found map[deadID][]*letters.Letter, done func() bool) func(*letters.Letter) (bool, error) {
	return func(l *letters.Letter) (bool, error) {
		for _, id := range ids {
			if id.names(l) {
				found[id] = append(found[id], l)
				l.Keep()
			}
		}
		return !done(), nil
	}
}

// complete returns a function that reports whether no other letter can have one of the ids:
// all were found, and nsqds that could have another one were named or do not exist.
func complete(ids []deadID, found map[deadID][]*letters.Letter, nsqds int) func() bool {
	return func() bool {
		for _, id := range ids {
			if len(found[id]) == 0 || id.nsqd == "" && nsqds > 1 {
				return false
			}
		}
		return true
	}
}

// chosenOf returns the letter of each id.
func chosenOf(ids []deadID, found map[deadID][]*letters.Letter) (chosen []*letters.Letter, err error) {
	var unknown []string
	for _, id := range ids {
		switch of := found[id]; {
		case len(of) == 0:
			unknown = append(unknown, id.String())
		case len(of) > 1:
			return nil, fmt.Errorf("id %s is that of letters on nsqd %s and %s: add @ and one of these addresses", id, of[0].NSQD, of[1].NSQD)
		case !slices.Contains(chosen, of[0]):
			chosen = append(chosen, of[0])
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("no letter has the %s %s", figures.Verb(len(unknown), "id", "ids"), list(unknown))
	}
	return chosen, nil
}
