package sieve

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const callers = 16

// together runs f(0) to f(callers-1) at once, and meanwhile over and over until
// they are done.
func together(f func(caller int), meanwhile func()) {
	var done atomic.Bool
	var wg, other sync.WaitGroup
	other.Go(func() {
		for !done.Load() {
			meanwhile()
		}
	})
	for caller := range callers {
		wg.Go(func() { f(caller) })
	}
	wg.Wait()
	done.Store(true)
	other.Wait()
}

func TestBoundHoldsWhileManyPut(t *testing.T) {
	for _, capacity := range []int{1, 2, 1000, 1_000_000} {
		t.Run(strconv.Itoa(capacity), func(t *testing.T) {
			m := New[int](capacity)
			each := max(10_000, capacity/callers*11/10)
			var evicted atomic.Int64
			together(func(caller int) {
				for i := range each {
					evicted.Add(int64(m.Put(strconv.Itoa(caller*each+i), i)))
				}
			}, func() { assert.LessOrEqual(t, m.Len(), capacity) })

			require.Equal(t, callers*each, m.Len()+int(evicted.Load()), "each is there or was counted as evicted")
			require.Greater(t, m.Len(), capacity*99/100)
			if capacity <= 1000 {
				require.Equal(t, capacity, m.Len(), "every shard is full")
			}
			requireSound(t, m)
		})
	}
}

// Each caller has keys of its own and knows what must be there; all look at the
// keys of all.
func TestCallersFindWhatTheyPut(t *testing.T) {
	const own = 100
	for _, c := range []struct {
		name     string
		capacity int
	}{{"room for all", 10 * callers * own}, {"room for a few", callers * own / 8}, {"room for one", 1}} {
		t.Run(c.name, func(t *testing.T) {
			roomy := c.capacity > callers*own
			m := New[string](c.capacity)
			key := func(caller, n int) string { return fmt.Sprint(caller, "/", n) }
			together(func(caller int) {
				r := rand.New(rand.NewPCG(1, uint64(caller)))
				last := make(map[string]string) // what this caller put last and did not delete
				for i := range 5000 {
					k := key(caller, r.IntN(own))
					switch want, there := last[k]; r.IntN(6) {
					case 0, 1:
						last[k] = k + " " + strconv.Itoa(i)
						evicted := m.Put(k, last[k])
						assert.False(t, roomy && evicted != 0, "there was room")
					case 2:
						deleted := m.Delete(k)
						assert.False(t, deleted && !there || roomy && deleted != there, k)
						delete(last, k)
					case 3:
						deleted := m.DeleteIf(k, func(v string) bool { return v == want })
						assert.False(t, deleted && !there || roomy && deleted != there, k)
						assert.False(t, m.DeleteIf(k, func(v string) bool { return v != want }), "nobody else puts %s", k)
						delete(last, k)
					case 4:
						got, ok := m.Get(k)
						assert.False(t, ok && !there || roomy && ok != there, k)
						assert.True(t, !ok || got == want, "%s: %q instead of %q", k, got, want)
					default: // somebody else's
						k = key(r.IntN(callers), r.IntN(own))
						got, ok := m.Get(k)
						assert.True(t, !ok || len(got) > len(k) && got[:len(k)+1] == k+" ", "%s: %q", k, got)
					}
				}
			}, func() { assert.LessOrEqual(t, m.Len(), c.capacity) })
			requireSound(t, m)
		})
	}
}

func TestClearAmongOthers(t *testing.T) {
	for _, capacity := range []int{1, 2, 1000} {
		t.Run(strconv.Itoa(capacity), func(t *testing.T) {
			m := New[string](capacity)
			clears := 0
			together(func(caller int) {
				for i := range 5000 {
					k := fmt.Sprint("other ", (caller*31+i)%(2*capacity))
					if v, ok := m.Get(k); ok {
						assert.Equal(t, k, v)
					}
					m.Put(k, k)
				}
			}, func() {
				for i := range 8 {
					m.Put(strconv.Itoa(i), "before")
				}
				m.Clear()
				for i := range 8 {
					_, ok := m.Get(strconv.Itoa(i))
					assert.False(t, ok, "put before Clear and found after")
				}
				clears++
			})
			require.Positive(t, clears)
			requireSound(t, m)
			m.Clear()
			require.Zero(t, m.Len())
			require.Empty(t, keys(m))
		})
	}
}
