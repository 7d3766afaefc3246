package badger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// startSpend spends 1 of the day of id on a goroutine of its own.
func startSpend(ctx context.Context, b *badger.Backend, id string, spendID uint64) <-chan error {
	done := make(chan error, 1)
	go func() {
		w := []backend.Window{window("day", 24*time.Hour, 0)}
		_, err := b.Spend(ctx, backend.Spend{ID: id, SpendID: spendID, Cost: 1, Windows: w})
		done <- err
	}()
	return done
}

func awaitWaiting(t *testing.T, b *badger.Backend, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return badger.WaitingSpends(b) == n }, time.Minute, time.Millisecond)
}

// openSynced opens a store of which one goroutine makes all spends.
func openSynced(t *testing.T) *badger.Backend {
	t.Helper()
	return open(t, t.TempDir(), nil)
}

// What waits together is one transaction: one version of the counts for them all.
func TestSpendsShareATransaction(t *testing.T) {
	b := openSynced(t)
	day := window("day", 24*time.Hour, 0)
	var waiting []<-chan error
	require.NoError(t, badger.WriteAll(b, func() {
		waiting = append(waiting, startSpend(testContext(t), b, "first", 1)) // holds the queue up
		require.Eventually(t, func() bool { return badger.SpendsTaken(b) == 1 }, time.Minute, time.Millisecond)
		for n := range 60 {
			waiting = append(waiting, startSpend(testContext(t), b, fmt.Sprint("id-", n%3), uint64(n)))
		}
		awaitWaiting(t, b, 60)
	}))
	for _, done := range waiting {
		require.NoError(t, <-done)
	}
	versions := make(map[uint64]bool)
	for n := range 3 {
		id := fmt.Sprint("id-", n)
		assert.Equal(t, []int64{20}, countsOf(t, b, id, day))
		require.NoError(t, badger.Database(b).View(func(txn *badgerdb.Txn) error {
			item, err := txn.Get([]byte("keystore/c" + id))
			require.NoError(t, err)
			versions[item.Version()] = true
			return nil
		}))
	}
	assert.Len(t, versions, 1)
}

// A spend whose caller gives up while it waits is not made.
func TestSpendGivenUp(t *testing.T) {
	b := openSynced(t)
	day := window("day", 24*time.Hour, 0)
	ctx, cancel := context.WithCancel(testContext(t))
	require.NoError(t, badger.WriteAll(b, func() {
		taken := startSpend(ctx, b, "id", 1)
		require.Eventually(t, func() bool { return badger.SpendsTaken(b) == 1 }, time.Minute, time.Millisecond)
		waiting := startSpend(ctx, b, "id", 2)
		awaitWaiting(t, b, 1)
		cancel()
		err := <-taken
		assert.ErrorIs(t, err, context.Canceled)
		assert.NotErrorIs(t, err, backend.ErrNotApplied, "it may yet take effect")
		err = <-waiting
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, backend.ErrNotApplied)
		assert.Zero(t, badger.WaitingSpends(b), "nothing of it is kept")
	}))
	spend(t, b, "other", 3, 1, day) // behind the one that was taken
	assert.Equal(t, []int64{1}, countsOf(t, b, "id", day))
	err := <-startSpend(ctx, b, "id", 4)
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, backend.ErrNotApplied)
	require.NoError(t, b.Close())
	err = <-startSpend(context.Background(), b, "id", 4)
	assert.ErrorIs(t, err, backend.ErrClosed)
}

// Close waits for the spend that was taken, and refuses those that wait.
func TestCloseWhileSpending(t *testing.T) {
	db := newDB(t, badgerdb.DefaultOptions(t.TempDir()).WithSyncWrites(true))
	b, other := handleOn(t, db, nil), handleOn(t, db, nil)
	closed := make(chan error, 1)
	var all []<-chan error
	require.NoError(t, badger.WriteAll(other, func() {
		for n := range uint64(5) {
			all = append(all, startSpend(context.Background(), b, "id", n))
		}
		require.Eventually(t, func() bool { return badger.WaitingSpends(b)+badger.SpendsTaken(b) == 5 }, time.Minute, time.Millisecond)
		go func() { closed <- b.Close() }()
		for _, done := range all {
			assert.ErrorIs(t, <-done, backend.ErrClosed)
		}
		require.NoError(t, <-closed)
	}))
	assert.Equal(t, []int64{0}, countsOf(t, other, "id", window("day", 24*time.Hour, 0)))
}

// A batch that no transaction holds is made in several.
func TestSpendsOfMoreThanATransaction(t *testing.T) {
	const callers = 60
	db := newDB(t, badgerdb.DefaultOptions(t.TempDir()).WithSyncWrites(true).WithValueThreshold(64<<10))
	b := handleOn(t, db, nil)
	day := window("day", 24*time.Hour, 0)
	spend(t, b, "id-0", 0, 1, day)
	// Counts of many limits are as large as it takes.
	for n := range 200 {
		var w []backend.Window
		for i := range backend.MaxWindows {
			w = append(w, window(fmt.Sprintf("%032d", backend.MaxWindows*n+i), time.Second, 0))
		}
		spend(t, b, "id-0", uint64(1+n), 1, w...)
	}
	value := valueAt(t, b, "keystore/cid-0")
	for n := range callers {
		setKey(t, b, fmt.Sprint("keystore/cid-", n), value)
		setKey(t, b, fmt.Sprint("keystore/e", value[1:9], "id-", n), "x")
	}
	require.Greater(t, int64(callers*len(value)), db.MaxBatchSize())

	var waiting []<-chan error
	require.NoError(t, badger.WriteAll(b, func() {
		waiting = append(waiting, startSpend(testContext(t), b, "first", 1))
		require.Eventually(t, func() bool { return badger.SpendsTaken(b) == 1 }, time.Minute, time.Millisecond)
		for n := range callers {
			waiting = append(waiting, startSpend(testContext(t), b, fmt.Sprint("id-", n), 1000))
		}
		awaitWaiting(t, b, callers)
	}))
	for _, done := range waiting {
		require.NoError(t, <-done)
	}
	for n := range callers {
		assert.Equal(t, []int64{2}, countsOf(t, b, fmt.Sprint("id-", n), day))
	}
	assertConsistent(t, b)
}

// Another writer of the database comes between, and the answers are those of the
// attempt that was committed.
func TestSpendIsRepeatedAfterAConflict(t *testing.T) {
	b := openSynced(t)
	day := window("day", 24*time.Hour, 0)
	spend(t, b, "id", 1, 10, day)
	tens := valueAt(t, b, "keystore/cid")
	spend(t, b, "id", 2, 990, day)
	full := valueAt(t, b, "keystore/cid")
	setKey(t, b, "keystore/cid", tens)
	attempts := 0
	s, err := badger.SpendBetween(b, backend.Spend{ID: "id", SpendID: 3, Cost: 1, Windows: []backend.Window{day}}, func() {
		if attempts++; attempts == 1 {
			setKey(t, b, "keystore/cid", full)
		}
	})
	require.NoError(t, err)
	assert.Equal(t, 2, attempts)
	assert.False(t, s.OK)
	assert.Equal(t, []int64{1000}, s.Counts)
}

// What spending returns when its context ends while the disk hangs. A spend that
// was taken is made when it can be, and its repeat finds it.
func TestSpendOnAStalledDisk(t *testing.T) {
	b := openSynced(t)
	day := window("day", 24*time.Hour, 0)
	resume := stall(t, b)
	defer resume()
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	err := <-startSpend(short(), b, "id", 1)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotErrorIs(t, err, backend.ErrNotApplied, "nobody knows")
	err = <-startSpend(short(), b, "other", 2)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, backend.ErrNotApplied, "it has not begun")
	_, err = b.Counts(short(), "id", []backend.Window{day})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = b.Usage(short(), "k", time.Unix(0, 0), time.Unix(86400, 0))
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	resume()
	assert.Equal(t, backend.Spent{OK: true, Counts: []int64{1}}, spend(t, b, "id", 1, 1, day))
	assert.Equal(t, []int64{0}, countsOf(t, b, "other", day))
	require.NoError(t, b.Close())
}
