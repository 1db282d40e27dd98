package letters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

// ID names a letter.
type ID struct {
	ID   string
	NSQD string // TCP address of the nsqd that has it; empty for any
}

// String returns the id, and @ and the nsqd if that is known.
func (i ID) String() string {
	if i.NSQD != "" {
		return i.ID + "@" + i.NSQD
	}
	return i.ID
}

func (i ID) names(l *Letter) bool {
	return i.ID == l.ID && (i.NSQD == "" || i.NSQD == l.NSQD)
}

// Read calls visit for each letter of the queues, until it returns false or an error. It takes
// batch letters at a time, as Open does. The letters go back when an nsqd's are read, except
// those that visit finishes. doubtful is how many of these may still be there.
func Read(ctx context.Context, queues []Queue, batch int, cfg *nsq.Config, visit func(*Letter) (more bool, err error)) (doubtful int, err error) {
	more := true
	for _, q := range queues {
		if !more {
			break
		}
		look, openErr := Open(ctx, q, batch, cfg)
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
func readLook(ctx context.Context, look *Look, q Queue, visit func(*Letter) (bool, error)) (more bool, err error) {
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
	queue Queue
	n     int64
}

func (e *missingError) Error() string {
	return fmt.Sprintf("nsqd %s: %s %s did not come: other consumers of channel %s may have taken them",
		e.queue.Addr, figures.Count(e.n), figures.Noun(e.n, "letter"), e.queue.Channel)
}

func missingLetters(q Queue, n int64) error {
	if n == 0 {
		return nil
	}
	return &missingError{q, n}
}

// With finds the letters with these ids and calls do with each, while all of them are held. It
// does nothing if an id is not found, or is that of letters on two nsqds. doubtful is how many of
// the letters that do has finished may still be there.
func With(ctx context.Context, queues []Queue, cfg *nsq.Config, ids []ID, do func(*Letter) error) (doubtful int, err error) {
	var looks []*Look
	defer func() {
		for _, look := range slices.Backward(looks) {
			doubtful += look.Close()
		}
	}()
	found := make(map[ID][]*Letter)
	done := complete(ids, found, len(queues))
	var missing error
	for _, q := range queues {
		if done() {
			break
		}
		if !slices.ContainsFunc(ids, func(id ID) bool { return id.NSQD == "" || id.NSQD == q.Addr }) {
			continue
		}
		look, err := Open(ctx, q, MaxBatch, cfg)
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
func keepNamed(ids []ID, found map[ID][]*Letter, done func() bool) func(*Letter) (bool, error) {
	return func(l *Letter) (bool, error) {
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
func complete(ids []ID, found map[ID][]*Letter, nsqds int) func() bool {
	return func() bool {
		for _, id := range ids {
			if len(found[id]) == 0 || id.NSQD == "" && nsqds > 1 {
				return false
			}
		}
		return true
	}
}

// chosenOf returns the letter of each id.
func chosenOf(ids []ID, found map[ID][]*Letter) (chosen []*Letter, err error) {
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
		return nil, fmt.Errorf("no letter has the %s %s", figures.Verb(len(unknown), "id", "ids"), figures.List(unknown))
	}
	return chosen, nil
}
