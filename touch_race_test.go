package keystore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// notesOf is a Keystore that flushes only when it is told to.
func notesOf(t testing.TB, b backend.Backend) *Keystore {
	s, err := New(b, &Options{TouchInterval: 24 * time.Hour, PurgeInterval: Never})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// latest keeps the later of two times, as backends do, and fails often, on half
// of these occasions after the fact.
type latest struct {
	backend.Backend
	rng    *rand.Rand // one flush runs at a time
	honest bool
	calls  int
	used   map[string]time.Time
}

func (b *latest) Touch(_ context.Context, used map[string]time.Time) error {
	b.calls++
	fails := !b.honest && b.rng.IntN(2) == 0
	if fails && b.rng.IntN(2) == 0 {
		return context.DeadlineExceeded
	}
	for id, at := range used {
		if at.After(b.used[id]) {
			b.used[id] = at
		}
	}
	if fails {
		return context.DeadlineExceeded
	}
	return nil
}

// TestNoNoteIsLostAmongNotersAndFlushes: noters share references, or have none,
// while flushes take the notes from under them.
func TestNoNoteIsLostAmongNotersAndFlushes(t *testing.T) {
	const noters, flushes, keys = 8, 200, 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	store := &latest{Backend: memory.New(), rng: rand.New(rand.NewPCG(seed, 0)), used: make(map[string]time.Time)}
	s := notesOf(t, store)
	var refs [keys]noteRef
	var noted [keys]atomic.Int64 // the latest of each key
	var clock atomic.Int64
	var stop atomic.Bool
	clock.Store(1_700_000_000_000)
	var wg sync.WaitGroup
	for n := range noters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(n+1)))
			for !stop.Load() {
				key := rng.IntN(keys)
				ref := &refs[key]
				if rng.IntN(4) == 0 {
					ref = nil
				}
				at := clock.Add(1)
				s.note(strconv.Itoa(key), time.UnixMilli(at), ref)
				raise(&noted[key], at)
			}
		})
	}
	for store.calls < flushes { // each takes what was noted since the one before
		if err := s.flush(t.Context()); err != nil {
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}
	}
	stop.Store(true)
	wg.Wait()
	store.honest = true
	require.NoError(t, s.Close(), "nothing was lost")
	for key := range keys {
		require.Equal(t, time.UnixMilli(noted[key].Load()).UTC(), store.used[strconv.Itoa(key)], "key %d", key)
	}
}

func raise(v *atomic.Int64, at int64) {
	for old := v.Load(); at > old && !v.CompareAndSwap(old, at); old = v.Load() {
	}
}

// TestWhatAFlushTookIsNotWrittenAnyMore: a reference to it leads on to the new
// note, once.
func TestWhatAFlushTookIsNotWrittenAnyMore(t *testing.T) {
	s := notesOf(t, memory.New())
	first := time.UnixMilli(1_700_000_000_000).UTC()
	var ref, other noteRef
	s.note("key", first, &ref)
	s.note("key", first, &other)
	old := ref.cell.Load()
	require.Same(t, old, other.cell.Load(), "a key has one note")
	s.note("key", first.Add(time.Second), &ref)
	s.note("key", first, &ref)
	require.Same(t, old, ref.cell.Load())
	require.Equal(t, map[string]time.Time{"key": first.Add(time.Second)}, s.notes.take())

	require.Empty(t, s.notes.take(), "nothing is taken twice")
	s.note("key", first.Add(time.Minute), &ref)
	s.note("key", first.Add(time.Hour), nil)
	require.Equal(t, int64(taken), old.at.Load())
	require.NotSame(t, old, ref.cell.Load())
	s.note("key", first.Add(2*time.Hour), &ref)
	s.note("key", first, &other)
	require.Same(t, ref.cell.Load(), other.cell.Load())
	require.Equal(t, map[string]time.Time{"key": first.Add(2 * time.Hour)}, s.notes.take())
}

// TestNotesBeyondTheBoundAreCountedExactly, whoever makes them at once, and a
// reference to a note that was dropped is none.
func TestNotesBeyondTheBoundAreCountedExactly(t *testing.T) {
	const noters, beyond = 8, 4000
	s := notesOf(t, &touchedIDs{Backend: memory.New(), fails: true})
	now := time.UnixMilli(1_700_000_000_000).UTC()
	var wg sync.WaitGroup
	for n := range noters {
		wg.Go(func() {
			for i := n; i < maxNotes+beyond; i += noters {
				s.note(strconv.Itoa(i), now, nil)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(maxNotes), s.notes.waiting.Load())
	require.Equal(t, int64(beyond), s.notes.dropped.Load())
	var ref noteRef
	s.note("one more", now, &ref)
	s.note("one more", now, &ref)
	require.Nil(t, ref.cell.Load())

	require.Error(t, s.flush(t.Context()))
	require.Equal(t, int64(maxNotes), s.notes.waiting.Load(), "they wait again")
	err := s.Close()
	require.ErrorContains(t, err, fmt.Sprintf(" %d last-used times were lost", maxNotes+beyond+2))
	require.ErrorIs(t, err, ErrUnavailable)
	s.note("0", now, nil)
	require.Empty(t, s.notes.take(), "nothing waits after the end")
}

func TestNotingAHitAllocatesNothing(t *testing.T) {
	s := notesOf(t, memory.New())
	now := time.UnixMilli(1_700_000_000_000).UTC()
	var ref noteRef
	for _, ref := range []*noteRef{nil, &ref} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			now = now.Add(time.Millisecond)
			s.note("0123456789ABCDEF", now, ref)
		}))
	}
}

// BenchmarkNote is one key used over and over, at a time that moves on once in
// a thousand notes.
func BenchmarkNote(b *testing.B) {
	for _, withRef := range []bool{false, true} {
		s := notesOf(b, memory.New())
		var ref *noteRef
		if withRef {
			ref = new(noteRef)
		}
		note := func(i int) { s.note("0123456789ABCDEF", time.UnixMilli(1_700_000_000_000+int64(i/1000)), ref) }
		b.Run(fmt.Sprintf("ref=%t/callers=1", withRef), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				note(i)
				i++
			}
		})
		b.Run(fmt.Sprintf("ref=%t/callers=all", withRef), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					note(i)
				}
			})
		})
	}
}
