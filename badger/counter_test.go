package badger_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// window is one in which a thousand may be spent.
func window(name string, length time.Duration, start int64) backend.Window {
	return backend.Window{Name: name, Length: length, Start: time.Unix(start, 0), Max: 1000}
}

// unlimited is one in which nearly all may be spent that can be counted.
func unlimited(name string, length time.Duration, start int64) backend.Window {
	w := window(name, length, start)
	w.Max = backend.MaxCount
	return w
}

func spend(t testing.TB, b backend.Counter, id string, spendID uint64, cost int64, windows ...backend.Window) backend.Spent {
	t.Helper()
	s, err := b.Spend(testContext(t), backend.Spend{ID: id, SpendID: spendID, Cost: cost, Windows: windows})
	require.NoError(t, err)
	return s
}

func countsOf(t testing.TB, b backend.Counter, id string, windows ...backend.Window) []int64 {
	t.Helper()
	counts, err := b.Counts(testContext(t), id, windows)
	require.NoError(t, err)
	return counts
}

func purgeCounts(t testing.TB, b backend.Counter, at int64, limit int) int {
	t.Helper()
	n, err := b.PurgeCounts(testContext(t), time.Unix(at, 0), limit)
	require.NoError(t, err)
	return n
}

// withSum adds the checksum of counts and tallies.
func withSum(value string) string {
	return string(binary.BigEndian.AppendUint32([]byte(value), crc32.Checksum([]byte(value), crc32.MakeTable(crc32.Castagnoli))))
}

// keysOfCountsAndTallies returns the keys that these ask for: each its own, and one
// of the index by time where it says that it is.
func keysOfCountsAndTallies(t *testing.T, b *badger.Backend) []string {
	t.Helper()
	var keys []string
	for _, key := range allKeys(t, badger.Database(b)) {
		kind, id := key[len("keystore/")], key[len("keystore/")+1:]
		index := map[byte]string{'c': "e", 'u': "v"}[kind]
		if index == "" {
			continue
		}
		keys = append(keys, key)
		if at := valueAt(t, b, key)[1:9]; at != strings.Repeat("\x00", 8) {
			keys = append(keys, "keystore/"+index+at+id)
		}
	}
	return keys
}

func valueAt(t *testing.T, b *badger.Backend, key string) string {
	t.Helper()
	var value []byte
	require.NoError(t, badger.Database(b).View(func(txn *badgerdb.Txn) error {
		item, err := txn.Get([]byte(key))
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	}))
	return string(value)
}

// The index by time follows the counts though a spend does not move it.
func TestIndexOfCounts(t *testing.T) {
	b := openMemory(t)
	for n := range uint64(10) {
		spend(t, b, "moving", n, 1, window("second", time.Second, 1000+int64(n)))
		assertConsistent(t, b)
	}
	spend(t, b, "future", 1, 1, window("second", time.Second, 5000))
	spend(t, b, "short", 1, 1, window("second", time.Second, 1000))
	assertConsistent(t, b)
	assert.Zero(t, purgeCounts(t, b, 1000, 10))
	assert.Equal(t, 1, purgeCounts(t, b, 1001, 10), "that of which nothing else is known")
	assertConsistent(t, b)
	assert.Zero(t, purgeCounts(t, b, 1009, 10), "the last window has not ended")
	assert.Equal(t, 1, purgeCounts(t, b, 1010, 10))
	assertConsistent(t, b)

	// The window that ends last is forgotten for four that are spent in later.
	for n := range uint64(4) {
		spend(t, b, "future", 2+n, 1, window("second", time.Second, 2000+int64(n)))
		assertConsistent(t, b)
	}
	assert.Zero(t, purgeCounts(t, b, 2003, 10))
	assert.Equal(t, 1, purgeCounts(t, b, 2004, 10))
	assert.Empty(t, allKeys(t, badger.Database(b)))

	// Behind what was purged.
	spend(t, b, "late", 1, 1, window("second", time.Second, 10))
	assert.Equal(t, 1, purgeCounts(t, b, 2004, 10))
	assert.Empty(t, allKeys(t, badger.Database(b)))
}

func TestResetCountsLeavesNothing(t *testing.T) {
	b := openMemory(t)
	spend(t, b, "id", 1, 1, window("day", 24*time.Hour, 0))
	require.NoError(t, b.ResetCounts(testContext(t), "id"))
	assert.Empty(t, allKeys(t, badger.Database(b)))
}

// Counts that cannot be read are an error, until they are reset.
func TestDamagedCounts(t *testing.T) {
	ctx := testContext(t)
	day := window("day", 24*time.Hour, 0)
	good := openMemory(t)
	spend(t, good, "id", 1, 1, day)
	value := valueAt(t, good, "keystore/cid")
	flipped := []byte(value)
	flipped[len(flipped)-5] ^= 1 // the count
	for name, bad := range map[string]string{
		"empty":          "",
		"cut":            value[:len(value)-1],
		"flipped":        string(flipped),
		"newer":          withSum("\x02" + value[1:len(value)-4]),
		"no spend":       withSum("\x01\x80\x00\x00\x00\x0a\x4c\xb8\x00\x00\x03day\x01\x01\x01"),
		"no window":      withSum("\x01\x80\x00\x00\x00\x0a\x4c\xb8\x00\x01" + strings.Repeat("\x01", 8)),
		"endless number": withSum(value[:len(value)-6] + strings.Repeat("\xff", 12)),
	} {
		t.Run(name, func(t *testing.T) {
			b := openMemory(t)
			spend(t, b, "id", 1, 1, day)
			spend(t, b, "other", 1, 1, day)
			create(t, b, record("id", "owner", "data"))
			setKey(t, b, "keystore/cid", bad)

			var group sync.WaitGroup // some of these share a transaction
			for n := range uint64(20) {
				group.Go(func() {
					_, err := b.Spend(ctx, backend.Spend{ID: "id", SpendID: n, Cost: 1, Windows: []backend.Window{day}})
					assert.ErrorContains(t, err, "the value")
					assert.ErrorIs(t, err, backend.ErrNotApplied)
				})
				group.Go(func() {
					s, err := b.Spend(ctx, backend.Spend{ID: "other", SpendID: 100 + n, Cost: 1, Windows: []backend.Window{day}})
					assert.NoError(t, err)
					assert.True(t, s.OK)
				})
			}
			group.Wait()
			_, err := b.Counts(ctx, "id", []backend.Window{day})
			assert.ErrorContains(t, err, "the value")
			assert.ErrorIs(t, b.Backup(io.Discard), badger.ErrDamaged)
			assert.Equal(t, 1, purgeCounts(t, b, 1<<40, 10), "the others go on")
			assert.Zero(t, purgeCounts(t, b, 1<<40, 10))

			require.NoError(t, b.ResetCounts(ctx, "id"))
			assert.Equal(t, []int64{0}, countsOf(t, b, "id", day))
			spend(t, b, "id", 1, 5, day)
			assert.Equal(t, []int64{5}, countsOf(t, b, "id", day))
			assert.NoError(t, b.Backup(io.Discard))
		})
	}
}

// The entry of counts that were damaged and reset is not taken for that of others.
func TestStaleEntriesOfCounts(t *testing.T) {
	b := openMemory(t)
	setKey(t, b, "keystore/cid", "damaged")
	setKey(t, b, "keystore/e"+string(binary.BigEndian.AppendUint64(nil, 1<<63+5000))+"id", "x")
	require.NoError(t, b.ResetCounts(testContext(t), "id"))
	spend(t, b, "id", 1, 1, window("day", 24*time.Hour, 0))
	assert.Zero(t, purgeCounts(t, b, 6000, 10))
	assertConsistent(t, b)
	assert.Equal(t, 1, purgeCounts(t, b, 86400, 10))
}

func TestSpendRefusesInput(t *testing.T) {
	day := window("day", 24*time.Hour, 0)
	with := func(change func(w *backend.Window)) []backend.Window {
		w := day
		change(&w)
		return []backend.Window{w}
	}
	b := openMemory(t)
	for name, s := range map[string]backend.Spend{
		"no id":          {Cost: 1, Windows: []backend.Window{day}},
		"no cost":        {ID: "id", Windows: []backend.Window{day}},
		"negative cost":  {ID: "id", Cost: -1, Windows: []backend.Window{day}},
		"large cost":     {ID: "id", Cost: backend.MaxCount + 1, Windows: []backend.Window{day}},
		"no window":      {ID: "id", Cost: 1},
		"nine windows":   {ID: "id", Cost: 1, Windows: make([]backend.Window, 9)},
		"twice the same": {ID: "id", Cost: 1, Windows: []backend.Window{day, window("day", 24*time.Hour, 86400)}},
		"no name":        {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Name = "" })},
		"odd name":       {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Name = "Day" })},
		"long name":      {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Name = strings.Repeat("d", 33) })},
		"no length":      {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Length = 0 })},
		"odd length":     {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Length++ })},
		"before 1970":    {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Start = time.Unix(-1, 0) })},
		"odd start":      {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Start = time.Unix(1, 1) })},
		"far start":      {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Start = time.Unix(1<<60, 0) })},
		"no max":         {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Max = 0 })},
		"large max":      {ID: "id", Cost: 1, Windows: with(func(w *backend.Window) { w.Max = backend.MaxCount + 1 })},
	} {
		_, err := b.Spend(testContext(t), s)
		assert.ErrorIs(t, err, backend.ErrNotApplied, name)
	}
	assert.Empty(t, allKeys(t, badger.Database(b)))
}

// Handles have queues of their own, and counts in common.
func TestSpendThroughManyHandles(t *testing.T) {
	const limit, callers = 500, 16
	db := newMemoryDB(t)
	var passed atomic.Int64
	var group sync.WaitGroup
	for c := range callers {
		b := handleOn(t, db, nil)
		group.Go(func() {
			for n := range uint64(80) {
				w := []backend.Window{window("day", 24*time.Hour, 0), window("one", time.Second, int64(n))}
				w[0].Max = limit
				s, err := b.Spend(testContext(t), backend.Spend{ID: fmt.Sprint("id-", n%2), SpendID: uint64(c)<<32 + n, Cost: 1, Windows: w})
				if !assert.NoError(t, err) {
					return
				}
				if s.OK {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	b := handleOn(t, db, nil)
	total := countsOf(t, b, "id-0", window("day", 24*time.Hour, 0))[0] + countsOf(t, b, "id-1", window("day", 24*time.Hour, 0))[0]
	assert.Equal(t, passed.Load(), total)
	assert.Equal(t, int64(2*limit), total, "%d were asked for in all", 80*callers)
	assertConsistent(t, b)
}

// Exactly as many pass of each key as may, whoever else spends of it and of others by the
// same handle, and whether each transaction waits for the disk or not.
func TestSpendersOfManyKeys(t *testing.T) {
	const keys, callers, limit = 40, 64, 60
	for name, noSync := range map[string]bool{"synced": false, "not synced": true} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir(), &badger.Options{NoSync: noSync})
			day := window("day", 24*time.Hour, 0)
			day.Max = limit
			var passed [keys]atomic.Int64
			var group sync.WaitGroup
			for c := range callers {
				group.Go(func() {
					for n := range keys { // in an order of its own
						key := (n*(2*c+1) + c) % keys
						s, err := b.Spend(testContext(t), backend.Spend{ID: fmt.Sprint("id-", key), SpendID: uint64(c<<32 + n), Cost: 1, Windows: []backend.Window{day}})
						if !assert.NoError(t, err) {
							return
						}
						if s.OK {
							passed[key].Add(1)
						}
					}
				})
			}
			group.Wait()
			for key := range keys {
				assert.Equal(t, []int64{passed[key].Load()}, countsOf(t, b, fmt.Sprint("id-", key), day))
				assert.LessOrEqual(t, passed[key].Load(), int64(limit))
			}
			assertConsistent(t, b)
		})
	}
}

// Counts and tallies of one namespace are not those of another, and are no records.
func TestCountsKeepToTheirNamespace(t *testing.T) {
	db := newMemoryDB(t)
	b, other := handleOn(t, db, nil), handleOn(t, db, &badger.Options{Namespace: "keystore2/"})
	day := window("day", 24*time.Hour, 0)
	spend(t, b, "id", 1, 7, day)
	addUsage(t, b, addition("kid", 0, 1, time.Unix(1, 0)))
	assert.Equal(t, []int64{0}, countsOf(t, other, "id", day))
	assert.Empty(t, usageOf(t, other, "kid"))
	assert.Zero(t, purgeCounts(t, other, 1<<40, 10))
	assert.Empty(t, listAll(t, b, ""))
	require.NoError(t, b.Delete(testContext(t), "id"))
	assert.Equal(t, []int64{7}, countsOf(t, b, "id", day))
}

func TestCountsInBackups(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 10)
	day := window("day", 24*time.Hour, 0)
	for n := range uint64(200) {
		spend(t, from, fmt.Sprintf("id-%04d", n%20), n, 1, day, window("second", time.Second, int64(n)))
		addUsage(t, from, addition(fmt.Sprint("kid-", n%7), int64(n%3), n, time.Unix(int64(n%2), 0)))
	}
	backup := backupOf(t, from)
	require.NoError(t, badger.CheckBackup(bytes.NewReader(backup)))

	to := openMemory(t)
	spend(t, to, "id", 1, 1, window("second", time.Second, 1<<30))
	assert.ErrorIs(t, to.Restore(bytes.NewReader(backup)), badger.ErrNotEmpty)
	addUsage(t, to, addition("k", 0, 1, time.Unix(1<<30, 0)))
	require.Equal(t, 1, purgeCounts(t, to, 1<<40, 10)) // the indexes are worked off up to there
	require.Equal(t, 1, purgeUsage(t, to, 1<<50, 10))
	require.NoError(t, to.Restore(bytes.NewReader(backup)))
	assertConsistent(t, to)
	assert.Equal(t, backup, backupOf(t, to))
	assert.Equal(t, []int64{10}, countsOf(t, to, "id-0003", day))
	assert.Equal(t, usageOf(t, from, "kid-3"), usageOf(t, to, "kid-3"))
	assert.True(t, spend(t, to, "id-0003", 183, 1000, day).OK, "a repeat of the last spend before the backup")
	assert.Equal(t, 20, purgeCounts(t, to, 1<<40, 100))
	assert.NotZero(t, purgeUsage(t, to, 1<<50, 100))
}

// While a restore is not finished, nothing is counted.
func TestCountsDuringRestore(t *testing.T) {
	ctx := testContext(t)
	b := openMemory(t)
	require.Error(t, b.Restore(strings.NewReader("keystore badger backup 2\n")))
	day := window("day", 24*time.Hour, 0)
	_, err := b.Spend(ctx, backend.Spend{ID: "id", SpendID: 1, Cost: 1, Windows: []backend.Window{day}})
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	assert.ErrorIs(t, err, backend.ErrNotApplied)
	_, err = b.Counts(ctx, "id", []backend.Window{day})
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	assert.ErrorIs(t, b.ResetCounts(ctx, "id"), badger.ErrUnfinishedRestore)
	_, err = b.PurgeCounts(ctx, time.Now(), 1)
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	assert.ErrorIs(t, b.AddUsage(ctx, []backend.Addition{addition("k", 0, 1, time.Time{})}), badger.ErrUnfinishedRestore)
	_, err = b.Usage(ctx, "k", time.Unix(0, 0), time.Unix(86400, 0))
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	_, err = b.PurgeUsage(ctx, time.Now(), 1)
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
}

// Below the reserve nothing is spent and no usage is added; what makes room goes on.
func TestReserveOfCounts(t *testing.T) {
	disk := smallDisk(t, 64)
	const reserve = 32 << 20
	b := open(t, filepath.Join(disk, "store"), &badger.Options{Reserve: reserve})
	ctx := testContext(t)
	day := window("day", 24*time.Hour, 0)
	for _, id := range []string{"a", "b"} {
		spend(t, b, id, 1, 1, day)
	}
	addUsage(t, b, addition("ka", 0, 1, time.Unix(1, 0)))
	fillDisk(t, filepath.Join(disk, "filler"), reserve*3/4)
	// A look at the disk holds for a millisecond, also where the clock was set back since.
	badger.CheckedForRoom(b, time.Now().Add(time.Hour))
	require.Eventually(t, func() bool {
		_, err := b.Spend(ctx, backend.Spend{ID: "a", SpendID: 2, Cost: 1, Windows: []backend.Window{day}})
		return errors.Is(err, badger.ErrNoSpace) && errors.Is(err, backend.ErrNotApplied)
	}, 10*time.Second, time.Millisecond)
	assert.ErrorIs(t, b.AddUsage(ctx, []backend.Addition{addition("ka", 1, 1, time.Time{})}), badger.ErrNoSpace)
	require.NoError(t, b.ResetCounts(ctx, "a"))
	assert.Equal(t, 1, purgeCounts(t, b, 1<<40, 10))
	n, err := b.PurgeUsage(ctx, time.Unix(1, 0), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}
