package dedupe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rdyhq/nsq/docs/recipes/internal/scene"
	"github.com/rdyhq/nsq/nsqtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Order 1 is published twice, order 2 fails at first, and the ack of order 3 is lost. Each
// gets one receipt, and no message is left.
func TestOneReceiptEach(t *testing.T) {
	scene.Run(t, nsqtest.Options{}, func(s *scene.Scene) {
		var mu sync.Mutex
		var receipts []string
		failed := false
		stop := s.Start(func(ctx context.Context) error {
			return Consume(ctx, s.Config, s.NSQD.Addr(), func(_ context.Context, order string) error {
				scene.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				if order == "2" && !failed {
					failed = true
					return errors.New("no route to the mail server")
				}
				receipts = append(receipts, order)
				return nil
			})
		})
		ids := s.Publish("1", "2", "3", "1")
		s.NSQD.Inject(nsqtest.Fault{
			Command: "FIN", Match: func(c nsqtest.Command) bool { return c.Params[0] == ids[2] },
			Times: 1, Reply: []byte{}, Close: true,
		})
		scene.After(time.Hour)
		stop()
		slices.Sort(receipts)
		if !slices.Equal(receipts, []string{"1", "2", "3"}) || !failed {
			s.Errorf("receipts for %q", receipts)
		}
		if st := s.Stats(); st.TimedOut == 0 || st.Depth+st.InFlight+st.Deferred != 0 {
			s.Errorf("%+v", st)
		}
	})
}
