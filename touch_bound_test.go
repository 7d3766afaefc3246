package keystore

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// touchedIDs collects what is flushed, and fails as long as it is told to.
type touchedIDs struct {
	backend.Backend
	mu    sync.Mutex
	fails bool
	used  map[string]time.Time
}

func (b *touchedIDs) Touch(_ context.Context, used map[string]time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails {
		return context.DeadlineExceeded
	}
	maps.Copy(b.used, used)
	return nil
}

// TestUsesOfTooManyKeysAreDroppedAndCounted: what does not fit is lost, what
// waits already is kept and can still be raised, also after a failed flush.
func TestUsesOfTooManyKeysAreDroppedAndCounted(t *testing.T) {
	const bound, beyond = 100_000, 7
	for _, failedFlush := range []bool{false, true} {
		store := &touchedIDs{Backend: memory.New(), used: make(map[string]time.Time), fails: failedFlush}
		s, err := New(store, &Options{TouchInterval: 24 * time.Hour, PurgeInterval: Never})
		require.NoError(t, err)
		first := time.UnixMilli(1_700_000_000_000).UTC()
		for n := range bound + beyond {
			s.note(strconv.Itoa(n), first, nil)
			if failedFlush && n == bound/2 {
				require.Error(t, s.flush(t.Context()))
			}
		}
		store.fails = false
		s.note("0", first.Add(time.Minute), nil)
		s.note("1", first.Add(-time.Minute), nil)
		require.ErrorContains(t, s.Close(), fmt.Sprintf(" %d last-used times were lost", beyond))
		require.Len(t, store.used, bound)
		require.Equal(t, first.Add(time.Minute), store.used["0"])
		require.Equal(t, first, store.used["1"])
		require.NotContains(t, store.used, strconv.Itoa(bound), "the newest are dropped")
	}
}

// TestUsesThatComeDuringAFlushKeepTheBound: what a failed flush puts back does
// not push the buffer over it.
func TestUsesThatComeDuringAFlushKeepTheBound(t *testing.T) {
	store := &touchedIDs{Backend: memory.New(), used: make(map[string]time.Time)}
	s, err := New(store, &Options{TouchInterval: 24 * time.Hour, PurgeInterval: Never})
	require.NoError(t, err)
	now := time.UnixMilli(1_700_000_000_000).UTC()
	for n := range 60_000 {
		s.note("old"+strconv.Itoa(n), now, nil)
	}
	taken := s.notes.take()
	for n := range 60_000 {
		s.note("new"+strconv.Itoa(n), now, nil)
	}
	s.notes.putBack(taken)
	require.ErrorContains(t, s.Close(), " 20000 last-used times were lost")
	require.Len(t, store.used, 100_000)
}
