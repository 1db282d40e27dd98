package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rdyhq/nsq"
	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

// open opens the database of a test.
func open(tb testing.TB, file string) *sql.DB {
	tb.Helper()
	db, err := Open(tb.Context(), file)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// count returns what a query for one number returns.
func count(tb testing.TB, db *sql.DB, query string, args ...any) (n int) {
	tb.Helper()
	if err := db.QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Error(err)
	}
	return n
}

func order(i int) string { return fmt.Sprintf(`{"number":"A-%d","cents":%d}`, i, i) }

// Each FIN arrives when its order is in the database, never before.
func TestFinAfterCommit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders.db")
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		db, reader := open(s, file), open(s, file)
		var mu sync.Mutex
		numbers := map[string]string{} // of orders, by message ID
		fins := 0
		s.NSQD.Inject(nsqtest.Fault{Command: "FIN", Match: func(c nsqtest.Command) bool {
			mu.Lock()
			defer mu.Unlock()
			fins++
			if count(s, reader, `SELECT count(*) FROM orders WHERE number = ?`, numbers[c.Params[0]]) != 1 {
				s.Errorf("order %s is acked and not in the database", numbers[c.Params[0]])
			}
			return false
		}})
		stop := s.Start(func(ctx context.Context) error { return Consume(ctx, s.Config, s.NSQD.Addr(), Store{db}) })
		mu.Lock()
		for i := range 2500 {
			numbers[s.Publish(order(i))[0]] = fmt.Sprintf("A-%d", i)
		}
		mu.Unlock()
		scene.After(10 * time.Second)
		stop()
		if st := s.Stats(); fins != 2500 || st.Finished != 2500 || st.Delivered != 2500 {
			s.Errorf("%d FINs, %+v", fins, st)
		}
	})
}

// A batch that cannot be stored is delivered again as a whole. A message that is no order
// goes to the dead letters, and does not hold up the others.
func TestFailures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders.db")
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		db := open(s, file)
		producer, err := nsq.NewProducer(s.NSQD.Addr(), s.Config)
		if err != nil {
			s.Fatal(err)
		}
		defer producer.Stop()
		s.Config.DeadLetter = &nsq.DeadLetterPolicy{To: producer}
		full := true
		store := Store{db}
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), nsq.BatchHandlerFunc(func(ctx context.Context, batch []*nsq.Message) error {
				if full {
					full = false
					ended, cancel := context.WithCancelCause(ctx)
					cancel(errors.New("disk full"))
					ctx = ended
				}
				return store.HandleBatch(ctx, batch)
			}))
		})
		s.Publish(order(1), "pen", order(2))
		scene.After(time.Hour)
		stop()
		if n := count(s, db, `SELECT count(*) FROM orders`); n != 2 {
			s.Errorf("%d orders stored", n)
		}
		if st := s.Stats(); st.Finished != 3 || st.Requeued != 3 || len(s.NSQD.Queued("orders.billing.dead", "")) != 1 {
			s.Errorf("%+v", st)
		}
	})
}
