package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rdyhq/nsq/nsqtest"
)

// The promise: when nsqd gets a FIN, the line of that message is in what a crash would
// leave, whatever fails before and after. What is readable never gets less.
func TestToFileFinishesOnlyWhatIsOnDisk(t *testing.T) {
	for seed := range uint64(8) {
		for _, compression := range []string{compressNone, compressGzip, compressZstd} {
			t.Run(fmt.Sprint(compression, seed), func(t *testing.T) { randomLifeOfFiles(t, seed, compression) })
		}
	}
}

func randomLifeOfFiles(t *testing.T, seed uint64, compression string) {
	inFileScene(t, nsqtest.Options{MaxMsgTimeout: 5 * time.Minute}, func(s *fileScene) {
		rnd := rand.New(rand.NewPCG(seed, 1)) // #nosec G404 -- a test
		s.t.compression, s.t.filename = compression, "%M<REV>"
		s.t.rotateSize, s.t.syncInterval = int64(rnd.IntN(3)*100), 10*time.Second
		if rnd.IntN(2) == 0 {
			s.t.workDir = s.t.outputDir + ".work"
		}
		var mu sync.Mutex // guards rnd, bodies and rate
		rate := 0.0
		s.disk.failWith(func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if rnd.Float64() < rate {
				return errors.New(op + " failed")
			}
			return nil
		})
		bodies := make(map[string]string)
		s.nsqd.Inject(nsqtest.Fault{Command: "FIN", Match: func(c nsqtest.Command) bool {
			mu.Lock()
			body := bodies[c.Params[0]]
			mu.Unlock()
			if !s.disk.survives(body) {
				s.Errorf("FIN of %s, which a crash would lose", body)
			}
			return false
		}})
		s.start()
		for i := range 40 {
			mu.Lock()
			rate = []float64{0, 0, 0.1, 0.5, 1}[rnd.IntN(5)]
			for j := range rnd.IntN(20) {
				body := fmt.Sprintf("body-%d-%d-%x", i, j, rnd.Uint64())
				bodies[s.nsqd.Publish("t", body)[0]] = body
			}
			pause := time.Duration(rnd.IntN(60)) * time.Second
			if rnd.IntN(10) == 0 {
				pause = 8 * time.Minute
			}
			hangUp := rnd.IntN(4) == 0
			mu.Unlock()
			s.sleep(pause)
			if hangUp {
				s.t.hangups.pass(syscall.SIGHUP)
			}
		}
		s.disk.failWith(nil)
		s.sleep(10 * time.Minute)
		if err := s.stop(); err != nil {
			s.Error(err)
		}
		var all strings.Builder
		for _, text := range s.files(s.t.outputDir) {
			all.WriteString(text)
		}
		for _, body := range bodies {
			if !strings.Contains(all.String(), body+"\n") {
				s.Errorf("%s is not in the files", body)
			}
		}
		if st := s.nsqd.Stats("t", "ch"); st.Depth+st.InFlight != 0 {
			s.Errorf("nsqd has %+v", st)
		}
	})
}
