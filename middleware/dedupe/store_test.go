package dedupe

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// claims claims key k for an owner and checks what the Store says.
func claims(t *testing.T, s Store, owner string, want State, left time.Duration) {
	t.Helper()
	state, got, err := s.Claim(t.Context(), "k", owner, time.Minute)
	if err != nil || state != want || got != left {
		t.Errorf("%s claims: %v, %v, %v, want %v, %v", owner, state, got, err, want, left)
	}
}

// TestMemory takes a key through its states.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t, time.Hour, 10)
		claims(t, s, "a", Claimed, 0)
		time.Sleep(10 * time.Second) //nolint:forbidigo // inside a synctest bubble
		claims(t, s, "b", Busy, 50*time.Second)
		claims(t, s, "a", Claimed, 0) // again, for a minute from now
		claims(t, s, "b", Busy, time.Minute)
		if err := s.Release(t.Context(), "k", "b"); err != nil { // not b's
			t.Fatal(err)
		}
		claims(t, s, "b", Busy, time.Minute)
		if err := s.Release(t.Context(), "k", "a"); err != nil {
			t.Fatal(err)
		}
		claims(t, s, "b", Claimed, 0)
		time.Sleep(61 * time.Second)                            //nolint:forbidigo // inside a synctest bubble
		claims(t, s, "a", Claimed, 0)                           // b's claim has ended
		if err := s.Commit(t.Context(), "k", "b"); err != nil { // late, but handled
			t.Fatal(err)
		}
		claims(t, s, "a", Done, 0)
		if err := s.Release(t.Context(), "k", "a"); err != nil {
			t.Fatal(err)
		}
		claims(t, s, "a", Done, 0)
		time.Sleep(time.Hour + time.Second) //nolint:forbidigo // inside a synctest bubble
		claims(t, s, "a", Claimed, 0)
	})
}

// A Memory remembers as many handled messages as it has room for, be it a single one.
func TestMemoryIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{1, 2, 100} {
			s := memory(t, time.Hour, size)
			for i := range size {
				key := fmt.Sprint(i)
				if state, _, err := s.Claim(t.Context(), key, "a", time.Minute); state != Claimed || err != nil {
					t.Fatal(state, err)
				}
				if err := s.Commit(t.Context(), key, "a"); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			s.keys.CleanUp()
			if n := s.keys.EstimatedSize(); n != size {
				t.Errorf("%d of %d handled messages are remembered", n, size)
			}
		}
	})
}

// A Memory that is full forgets handled messages, and no claim.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, keys = 100, 10_000
		s := memory(t, time.Hour, size)
		for i := range keys {
			if _, _, err := s.Claim(t.Context(), fmt.Sprint("claimed ", i), "a", time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context(), fmt.Sprint("done ", i), "a"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		s.keys.CleanUp()
		if n := s.keys.WeightedSize(); n > size {
			t.Errorf("%d handled messages are remembered, want %d at most", n, size)
		}
		for i := range keys {
			if state, _, _ := s.Claim(t.Context(), fmt.Sprint("claimed ", i), "b", time.Minute); state != Busy {
				t.Fatalf("claim %d of %d is forgotten", i, keys)
			}
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // inside a synctest bubble
		synctest.Wait()
		if n := s.keys.EstimatedSize(); n > size {
			t.Errorf("%d keys are kept after claims have ended", n)
		}
	})
}
