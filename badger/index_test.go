package badger_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// assertConsistent checks that the keys in the database are exactly those that
// its records, counts and tallies ask for.
func assertConsistent(t *testing.T, b *badger.Backend) {
	t.Helper()
	want := []string{}
	for _, r := range listAll(t, b, "") {
		want = append(want, "keystore/r"+r.ID, ownerKey(r.Owner, r.ID))
		if !r.PurgeAt.IsZero() {
			want = append(want, purgeKey(r.PurgeAt, r.ID))
		}
	}
	want = append(want, keysOfCountsAndTallies(t, b)...)
	slices.Sort(want)
	assert.Equal(t, want, allKeys(t, badger.Database(b)))
}

// The keys on disk, spelt out a second time: they must never change.
func ownerKey(owner, id string) string {
	return "keystore/o" + string(binary.BigEndian.AppendUint16(nil, uint16(len(owner)))) + owner + id
}

func purgeKey(at time.Time, id string) string {
	return "keystore/p" + string(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())+1<<63)) + id
}

func allKeys(t *testing.T, db *badgerdb.DB) []string {
	t.Helper()
	keys := []string{}
	require.NoError(t, db.View(func(txn *badgerdb.Txn) error {
		it := txn.NewIterator(badgerdb.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			keys = append(keys, string(it.Item().Key()))
		}
		return nil
	}))
	return keys
}

func setKey(t *testing.T, b *badger.Backend, key, value string) {
	t.Helper()
	require.NoError(t, badger.Database(b).Update(func(txn *badgerdb.Txn) error { return txn.Set([]byte(key), []byte(value)) }))
}

func TestIndexesFollowRecords(t *testing.T) {
	ctx := testContext(t)
	b := openMemory(t)
	day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := record("id", "owner", "1")
	r.PurgeAt = day
	create(t, b, r, record("other", "owner", "1"))
	assertConsistent(t, b)
	for revision, at := range []time.Time{day, day.Add(time.Hour), {}, day} {
		require.NoError(t, b.Update(ctx, backend.Record{ID: "id", Revision: uint64(revision + 1), PurgeAt: at}))
		assertConsistent(t, b)
	}
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"id": day, "unknown": day}))
	assertConsistent(t, b)
	require.NoError(t, b.Delete(ctx, "id"))
	assertConsistent(t, b)
	create(t, b, r)
	purged, err := b.Purge(ctx, day, 10)
	require.NoError(t, err)
	assert.Equal(t, 1, purged)
	assertConsistent(t, b)
	assert.Len(t, allKeys(t, badger.Database(b)), 2, "those of the other record")
}

func TestIndexesUnderConcurrentWriters(t *testing.T) {
	ctx := testContext(t)
	b := openMemory(t)
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for n := range 60 {
				id := fmt.Sprint("id-", (n+worker)%5)
				r := backend.Record{ID: id, Owner: fmt.Sprint("owner-", n%2), Data: fmt.Append(nil, worker, n), PurgeAt: time.UnixMilli(int64(n%3) * 1000)}
				_ = b.Create(ctx, r)
				if old, err := b.Get(ctx, id); err == nil {
					r.Revision = old.Revision
					_ = b.Update(ctx, r)
				}
				_ = b.Touch(ctx, map[string]time.Time{id: time.UnixMilli(int64(n))})
				switch n % 4 {
				case 0:
					_ = b.Delete(ctx, id)
				case 1:
					_, _ = b.Purge(ctx, time.UnixMilli(1000), 2)
				}
			}
		})
	}
	group.Wait()
	assertConsistent(t, b)
}

// An entry of the purge index is a hint: only the record says when it may go.
func TestStalePurgeEntries(t *testing.T) {
	b := openMemory(t)
	due, later := time.UnixMilli(1000), time.UnixMilli(9000)
	kept := record("kept", "owner", "data")
	kept.PurgeAt = later
	create(t, b, kept, record("no-purge", "owner", "data"))
	for _, id := range []string{"kept", "no-purge", "no-record"} {
		setKey(t, b, purgeKey(due, id), "x")
	}
	purged, err := b.Purge(testContext(t), due, 10)
	require.NoError(t, err)
	assert.Zero(t, purged)
	assert.Len(t, listAll(t, b, ""), 2)
	assertConsistent(t, b) // the stale entries are gone
}

func TestStaleOwnerEntries(t *testing.T) {
	b := openMemory(t)
	create(t, b, record("of-bob", "bob", "data"), record("of-alice", "alice", "data"))
	setKey(t, b, ownerKey("alice", "of-bob"), "x")
	setKey(t, b, ownerKey("alice", "no-record"), "x")
	page := listAll(t, b, "alice")
	require.Len(t, page, 1)
	assert.Equal(t, "of-alice", page[0].ID)
}

func TestDamagedRecord(t *testing.T) {
	ctx := testContext(t)
	b := openMemory(t)
	setKey(t, b, "keystore/rbad", "\x01 not an envelope")
	setKey(t, b, purgeKey(time.UnixMilli(1), "bad"), "x")
	setKey(t, b, "keystore/rempty", "")
	setKey(t, b, "keystore/rnew", "\x02 of a newer version")
	due := record("due", "owner", "data")
	due.PurgeAt = time.UnixMilli(2)
	create(t, b, due)

	for _, id := range []string{"bad", "empty", "new"} {
		r, err := b.Get(ctx, id)
		assert.NoError(t, err)
		assert.Equal(t, backend.Record{ID: id}, r, "there, and nothing that could be taken for a key")
		assert.Error(t, b.Update(ctx, backend.Record{ID: id, Data: []byte("data")}))
		assert.Error(t, b.Create(ctx, record(id, "owner", "data")), "a damaged record keeps its id")
	}
	var ids []string
	for _, r := range listAll(t, b, "") {
		ids = append(ids, r.ID)
	}
	assert.Equal(t, []string{"bad", "due", "empty", "new"}, ids, "a listing goes on")
	setKey(t, b, ownerKey("owner", "bad"), "x")
	page := listAll(t, b, "owner")
	require.NotEmpty(t, page)
	assert.Equal(t, backend.Record{ID: "bad", Owner: "owner"}, page[0])

	purged, err := b.Purge(ctx, time.UnixMilli(5), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, purged, "the others go on")
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"bad": time.UnixMilli(1)}))
	for _, id := range []string{"bad", "empty", "new"} {
		require.NoError(t, b.Delete(ctx, id))
		_, err = b.Get(ctx, id)
		assert.ErrorIs(t, err, backend.ErrNotFound)
	}
}

// Touch and Purge of more than a transaction holds.
func TestManyRecords(t *testing.T) {
	ctx := testContext(t)
	for name, c := range map[string]struct{ count, size int }{
		"small":  {5000, 20},
		"64 KiB": {3 * badger.ChunkLen, 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			b := openMemory(t)
			used := make(map[string]time.Time)
			var group sync.WaitGroup
			for worker := range 8 {
				group.Go(func() {
					for n := worker; n < c.count; n += 8 {
						r := record(fmt.Sprint("id-", n), "owner", strings.Repeat("x", c.size))
						r.PurgeAt = time.UnixMilli(int64(n))
						assert.NoError(t, b.Create(ctx, r))
					}
				})
			}
			group.Wait()
			for n := range c.count {
				used[fmt.Sprint("id-", n)] = time.UnixMilli(7)
			}
			require.NoError(t, b.Touch(ctx, used))
			all := listAll(t, b, "owner")
			assert.Len(t, all, c.count)
			for _, r := range all {
				assert.Equal(t, int64(7), r.LastUsed.UnixMilli())
			}

			limit := c.count/2 + 1
			purged, err := b.Purge(ctx, time.UnixMilli(1<<40), limit)
			require.NoError(t, err)
			assert.Equal(t, limit, purged)
			rest := listAll(t, b, "")
			assert.Len(t, rest, c.count-limit)
			for _, r := range rest {
				assert.GreaterOrEqual(t, r.PurgeAt.UnixMilli(), int64(limit), "the longest due go first")
			}
			purged, err = b.Purge(ctx, time.UnixMilli(1<<40), c.count)
			require.NoError(t, err)
			assert.Equal(t, c.count-limit, purged)
			assert.Empty(t, allKeys(t, badger.Database(b)))
		})
	}
}

// What fails in the second of two transactions is not without effect, though
// that transaction is.
func TestChunkThatFailsInPart(t *testing.T) {
	b := openMemory(t)
	failure := errors.New("failure")
	for name, c := range map[string]struct {
		failing string
		refused bool
	}{"first": {"a", true}, "second": {"b", false}} {
		t.Run(name, func(t *testing.T) {
			split := false
			err := badger.WriteChunk(b, func(id string) error {
				switch {
				case !split && id == "b":
					split = true
					return badgerdb.ErrTxnTooBig
				case split && id == c.failing:
					return failure
				}
				return nil
			}, "a", "b")
			assert.ErrorIs(t, err, failure)
			assert.Equal(t, c.refused, errors.Is(err, backend.ErrNotApplied))
		})
	}
}

// A Purge that is given up between chunks has had an effect, and says so.
func TestPurgeGivenUp(t *testing.T) {
	b := openMemory(t)
	const count = 20 * badger.ChunkLen
	for n := range count {
		r := record(fmt.Sprint("id-", n), "owner", "data")
		r.PurgeAt = time.UnixMilli(1)
		create(t, b, r)
	}
	watch, err := b.Watch(testContext(t))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		for range badger.ChunkLen + 1 { // the first chunk is done
			<-watch
		}
		cancel()
	}()
	purged, err := b.Purge(ctx, time.UnixMilli(1), count)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)
	assert.NotZero(t, purged)
	assert.Less(t, purged, count)

	_, err = b.Purge(ctx, time.UnixMilli(1), count)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, backend.ErrNotApplied, "this one did nothing")
}

// A page of large records is short, and the walk complete.
func TestPagesOfLargeRecords(t *testing.T) {
	b := openMemory(t)
	const count = 150
	for n := range count {
		create(t, b, record(fmt.Sprintf("%03d", n), "owner", strings.Repeat("x", 64<<10)))
	}
	page, err := b.List(testContext(t), backend.ListOptions{Limit: 1000})
	require.NoError(t, err)
	assert.Less(t, len(page), count)
	assert.Len(t, listAll(t, b, ""), count)
	assert.Len(t, listAll(t, b, "owner"), count)
}

func TestLimitsOfRecords(t *testing.T) {
	ctx := testContext(t)
	b := openMemory(t)
	for name, r := range map[string]backend.Record{
		"empty id":   record("", "owner", "data"),
		"odd id":     record("a/b", "owner", "data"),
		"long id":    record(strings.Repeat("a", 65), "owner", "data"),
		"long data":  record("id", "owner", strings.Repeat("x", backend.MaxDataLen+1)),
		"long owner": record("id", strings.Repeat("o", 32<<10+1), "data"),
		"far time":   {ID: "id", PurgeAt: time.Unix(1<<60, 0)},
	} {
		assert.ErrorIs(t, b.Create(ctx, r), backend.ErrNotApplied, name)
	}
	assert.Empty(t, allKeys(t, badger.Database(b)))
	largest := record(strings.Repeat("i", 64), strings.Repeat("o", 32<<10), strings.Repeat("x", backend.MaxDataLen))
	largest.PurgeAt = time.UnixMilli(1)
	create(t, b, largest)
	assertConsistent(t, b)
}

// Another writer of the database comes between the read and the commit.
func TestConflictsWithOtherWritersAreRetried(t *testing.T) {
	for name, c := range map[string]struct{ conflicts, attempts int }{
		"a few":  {3, 4},
		"no end": {1000, 10},
	} {
		t.Run(name, func(t *testing.T) {
			b := openMemory(t)
			db := badger.Database(b)
			write := func(txn *badgerdb.Txn) error {
				if _, err := txn.Get([]byte("key")); err != nil && !errors.Is(err, badgerdb.ErrKeyNotFound) {
					return err
				}
				return txn.Set([]byte("key"), []byte("value"))
			}
			attempts := 0
			err := badger.Write(b, testContext(t), func(txn *badgerdb.Txn) error {
				if err := write(txn); err != nil {
					return err
				}
				if attempts++; attempts <= c.conflicts {
					return db.Update(write)
				}
				return nil
			})
			assert.Equal(t, c.attempts, attempts)
			if c.attempts > c.conflicts {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, badgerdb.ErrConflict)
			assert.ErrorIs(t, err, backend.ErrNotApplied)
			assert.NotErrorIs(t, err, backend.ErrConflict, "which would be an answer")
		})
	}
}
