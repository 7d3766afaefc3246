package badger_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

// Counts of many keys are purged while others look up and spend. How long these
// take is logged, and not judged: KEYSTORE_TEST_LONG=1 has a million counts.
func TestPurgeOfManyCounts(t *testing.T) {
	const records = 2000
	count := 4000
	if long() {
		count = 1_000_000
	}
	b := open(t, t.TempDir(), &badger.Options{NoSync: true})
	for n := range records {
		create(t, b, record(fmt.Sprint("id-", n), "owner", string(make([]byte, 300))))
	}
	started := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for n := next.Add(1); n <= int64(count); n = next.Add(1) {
				spend(t, b, fmt.Sprint("id-", n), uint64(n), 1, window("second", time.Second, n), window("short", 2*time.Second, n-1))
			}
		})
	}
	group.Wait()
	t.Logf("%d spends of as many keys in %v", count, time.Since(started))

	idle := timeCalls(t, b, records, func() { time.Sleep(200 * time.Millisecond) })
	purged := 0
	started = time.Now()
	busy := timeCalls(t, b, records, func() {
		for {
			n, err := b.PurgeCounts(context.Background(), time.Unix(int64(count)+1, 0), 1000)
			assert.NoError(t, err)
			if n == 0 {
				return
			}
			purged += n
		}
	})
	assert.Equal(t, count, purged, "those of the calls that are timed are not due")
	t.Logf("purged in %v", time.Since(started))
	for kind := range busy {
		assert.NotEmpty(t, busy[kind], "%s went on", kind)
		t.Logf("%s: idle %s; while purging %s", kind, quantiles(idle[kind]), quantiles(busy[kind]))
	}
}

// A purge is many small transactions, so that others wait little for each.
func TestPurgesAreInSmallChunks(t *testing.T) {
	const chunks = 4
	b := openMemory(t)
	for n := range uint64(chunks * badger.PurgeChunkLen) {
		spend(t, b, fmt.Sprint("id-", n), n, 1, window("second", time.Second, 0))
	}
	commits := func() uint64 {
		txn := badger.Database(b).NewTransaction(false)
		defer txn.Discard()
		return txn.ReadTs()
	}
	before := commits()
	assert.Equal(t, chunks*badger.PurgeChunkLen, purgeCounts(t, b, 1, 1000))
	assert.EqualValues(t, chunks, commits()-before)
}

func long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// The folder does not grow with the number of spends: a million of one key write
// 600 MB.
func TestSpendsOfOneKeyTakeLittleRoom(t *testing.T) {
	if !long() {
		t.Skip("takes half a minute: set KEYSTORE_TEST_LONG=1")
	}
	dir := t.TempDir()
	b := open(t, dir, &badger.Options{NoSync: true})
	day := unlimited("day", 24*time.Hour, 0)
	var largest int64
	for n := range uint64(1_000_000) {
		spend(t, b, "hot", n, 1, day, unlimited("second", time.Second, int64(n/1000)))
		if n%1000 == 0 {
			largest = max(largest, sizeInUse(t, dir))
		}
	}
	assert.Equal(t, []int64{1_000_000}, countsOf(t, b, "hot", day))
	t.Logf("at most %d MiB", largest>>20)
	assert.Less(t, largest, int64(200<<20), "reserved space included")
}

// sizeInUse is apparentSize of a folder whose files come and go.
func sizeInUse(t *testing.T, dir string) (size int64) {
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		size += info.Size()
	}
	return size
}

// timeCalls times Get and Spend, each by a caller of its own, while fn runs.
func timeCalls(t *testing.T, b *badger.Backend, records int, fn func()) map[string][]time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	done := make(chan struct{})
	var group sync.WaitGroup
	var gets, spends []time.Duration
	repeat := func(times *[]time.Duration, call func()) {
		group.Go(func() {
			for {
				started := time.Now()
				call()
				*times = append(*times, time.Since(started))
				select {
				case <-done:
					return
				case <-time.After(100 * time.Microsecond): // the processors are for the purge too
				}
			}
		})
	}
	repeat(&gets, func() {
		_, err := b.Get(ctx, fmt.Sprint("id-", rand.IntN(records)))
		assert.NoError(t, err)
	})
	repeat(&spends, func() {
		spend(t, b, "hot", rand.Uint64(), 1, unlimited("day", 24*time.Hour, 1<<40))
	})
	fn()
	close(done)
	group.Wait()
	require.NoError(t, b.ResetCounts(ctx, "hot"))
	return map[string][]time.Duration{"Get": gets, "Spend": spends}
}

func quantiles(times []time.Duration) string {
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[int(q*float64(len(times)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("median %v, p99 %v, longest %v of %d", at(0.5), at(0.99), at(1), len(times))
}
