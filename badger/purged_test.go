package badger_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

// due creates a record that Purge may delete from ms on.
func due(t testing.TB, b *badger.Backend, id string, ms int64) {
	t.Helper()
	r := record(id, "owner", "data")
	r.PurgeAt = time.UnixMilli(ms)
	create(t, b, r)
}

func purge(t testing.TB, b *badger.Backend, ms int64, limit int) int {
	t.Helper()
	n, err := b.Purge(testContext(t), time.UnixMilli(ms), limit)
	require.NoError(t, err)
	return n
}

// What a Purge has worked off is not looked at again, unless something is
// entered there.
func TestPurgeFindsWhatWasEnteredBehindIt(t *testing.T) {
	b := openMemory(t)
	for i := range int64(300) {
		due(t, b, fmt.Sprintf("first-%03d", i), 1000+i)
	}
	require.Equal(t, 200, purge(t, b, 5000, 200))
	due(t, b, "earlier", 10)
	due(t, b, "same-time", 1150)
	due(t, b, "later", 4000)
	due(t, b, "not-yet", 5001)
	require.Equal(t, 100+3, purge(t, b, 5000, 1000))
	require.Zero(t, purge(t, b, 5000, 1000))

	// Ids at one time, on both sides of the last one that was purged.
	due(t, b, "b", 6000)
	require.Equal(t, 2, purge(t, b, 6000, 10))
	due(t, b, "a", 6000)
	due(t, b, "c", 6000)
	require.Equal(t, 2, purge(t, b, 6000, 10))

	// An update may bring a purge time forward, behind all of that.
	create(t, b, record("updated", "owner", "data"))
	r, err := b.Get(testContext(t), "updated")
	require.NoError(t, err)
	r.PurgeAt = time.UnixMilli(5)
	require.NoError(t, b.Update(testContext(t), r))
	require.Zero(t, purge(t, b, 4, 10))
	require.Equal(t, 1, purge(t, b, 6000, 10))
	require.Empty(t, listAll(t, b, ""))
}

// An entry that is committed while a Purge is under way, behind where that is,
// is not lost: a last Purge leaves nothing that is due.
func TestPurgeWhileEntriesAreMade(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := openMemory(t)
		var writers, purgers sync.WaitGroup
		done := make(chan struct{})
		for range 2 {
			purgers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						_, err := b.Purge(testContext(t), time.UnixMilli(1000), 3)
						if err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		for w := range 4 {
			times := random.Perm(100)
			writers.Go(func() {
				for i, at := range times {
					due(t, b, fmt.Sprintf("%d-%d", w, i), int64(at)+1)
				}
			})
		}
		writers.Wait()
		close(done)
		purgers.Wait()
		for purge(t, b, 1000, 1000) > 0 {
		}
		require.Empty(t, listAll(t, b, ""))
	}
}

func TestPurgeAfterRestore(t *testing.T) {
	var backup bytes.Buffer
	source := openMemory(t)
	due(t, source, "old", 1)
	require.NoError(t, source.Backup(&backup))

	b := openMemory(t)
	due(t, b, "gone", 2)
	require.Equal(t, 1, purge(t, b, 1000, 10))
	require.NoError(t, b.Restore(&backup))
	require.Equal(t, 1, purge(t, b, 1000, 10))
}

// BenchmarkPurge measures a call that deletes 500 records, after so many others
// that it must not walk over what those left.
func BenchmarkPurge(b *testing.B) {
	for _, before := range []int{0, 20_000, 80_000} {
		b.Run(fmt.Sprintf("after=%d", before), func(b *testing.B) {
			store := open(b, b.TempDir(), &badger.Options{NoSync: true})
			n := 0
			fill := func(count int) {
				for range count {
					due(b, store, fmt.Sprintf("%08d", n), int64(n)+1)
					n++
				}
			}
			fill(before)
			for left := before; left > 0; left -= 500 {
				require.Equal(b, 500, purge(b, store, int64(n)+1, 500))
			}
			for b.Loop() {
				b.StopTimer()
				fill(500)
				b.StartTimer()
				require.Equal(b, 500, purge(b, store, int64(n)+1, 500))
			}
		})
	}
}
