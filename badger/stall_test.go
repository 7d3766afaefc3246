package badger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// stall makes the commits of db hang, as a disk does that does not answer, until
// resume is called: a subscriber of Badger's that does not read holds them up,
// once its queues are full.
func stall(t *testing.T, b *badger.Backend) (resume func()) {
	t.Helper()
	db := badger.Database(b)
	const watched = "stall/"
	ctx, stop := context.WithCancel(context.Background())
	subscribed, blocked := make(chan struct{}), make(chan struct{})
	isSubscribed := sync.OnceFunc(func() { close(subscribed) })
	var group sync.WaitGroup
	group.Go(func() {
		_ = db.Subscribe(ctx, func(*badgerdb.KVList) error {
			isSubscribed()
			<-blocked
			return nil
		}, []pb.Match{{Prefix: []byte(watched)}})
	})
	write := func(n int) <-chan error {
		done := make(chan error, 1)
		txn := db.NewTransaction(true)
		require.NoError(t, txn.Set(fmt.Append([]byte(watched), n%2), []byte("x")))
		txn.CommitWith(func(err error) { done <- err })
		return done
	}
	for n := 0; ; n++ { // until the subscriber is there
		require.NoError(t, <-write(n))
		select {
		case <-subscribed:
		default:
			continue
		}
		break
	}
	// A write that does not end means that the queues are full. Its limit costs
	// time only once, and is long for a commit in memory.
	var last <-chan error
	for hanging := false; !hanging; {
		last = write(0)
		select {
		case err := <-last:
			require.NoError(t, err)
		case <-time.After(500 * time.Millisecond):
			hanging = true
		}
	}
	return sync.OnceFunc(func() {
		close(blocked)
		require.NoError(t, <-last)
		stop()
		group.Wait()
	})
}

// What a call returns when its context ends while the disk hangs.
func TestStalledDisk(t *testing.T) {
	b := openMemory(t)
	create(t, b, record("there", "owner", "data"))
	// The write of another that hangs is not known to the driver, so the first
	// read must come after one of its own.
	resume := stall(t, b)
	defer resume()
	writes := map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { return b.Create(ctx, record("new", "owner", "data")) },
		"Delete": func(ctx context.Context) error { return b.Delete(ctx, "there") },
	}
	reads := map[string]func(context.Context) error{
		"Get":  func(ctx context.Context) error { _, err := b.Get(ctx, "there"); return err },
		"List": func(ctx context.Context) error { _, err := b.List(ctx, backend.ListOptions{Limit: 1}); return err },
	}
	for _, calls := range []map[string]func(context.Context) error{writes, reads} {
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			cancel()
			assert.ErrorIs(t, err, context.DeadlineExceeded, name)
			assert.Less(t, time.Since(start), 2*time.Second, name)
			assert.NotErrorIs(t, err, backend.ErrNotApplied, "%s: nobody knows", name)
		}
	}
	// The first Create still holds the lock of its id, so this one has not begun.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := b.Create(ctx, record("new", "owner", "other data"))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, backend.ErrNotApplied)

	resume()
	// No transaction of these had begun, so none takes effect any more.
	_, err = b.Get(testContext(t), "there")
	require.NoError(t, err)
	create(t, b, record("new", "owner", "other data"))
	require.NoError(t, b.Close(), "after the calls that were given up")
}

// A write whose caller gave up still takes effect, holds its lock until then,
// and tells the watchers.
func TestAbandonedWrite(t *testing.T) {
	b := openMemory(t)
	watch, err := b.Watch(testContext(t))
	require.NoError(t, err)
	entered, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error)
	go func() {
		gaveUp <- badger.Write(b, ctx, func(txn *badgerdb.Txn) error {
			close(entered)
			<-release
			return txn.Set([]byte("key"), []byte("value"))
		})
	}()
	<-entered
	cancel()
	err = <-gaveUp
	assert.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)

	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err = badger.Write(b, short, func(*badgerdb.Txn) error { return errors.New("must not run") })
	assert.ErrorIs(t, err, context.DeadlineExceeded, "waiting for the lock")
	assert.ErrorIs(t, err, backend.ErrNotApplied)

	closed := make(chan error)
	go func() { closed <- b.Close() }()
	_, open := <-watch
	assert.False(t, open, "Close has begun")
	select {
	case <-closed:
		t.Error("Close did not wait for the write")
	default:
	}
	_, err = b.Get(context.Background(), "id")
	if err != nil { // Close may not have come to refuse calls yet
		assert.True(t, errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrNotFound), "%v", err)
	}
	close(release)
	require.NoError(t, <-closed)
}

// Waiting for the lock of an id ends when the handle is closed.
func TestCloseEndsWaitingForLocks(t *testing.T) {
	db := newMemoryDB(t)
	first, second := handleOn(t, db, nil), handleOn(t, db, nil)
	require.NoError(t, badger.WriteAll(first, func() {
		waiting := make(chan error)
		go func() { waiting <- badger.WaitForLock(second) }()
		require.NoError(t, second.Close())
		assert.ErrorIs(t, <-waiting, backend.ErrClosed)
	}))
}

// A panic inside a transaction becomes an error, on whichever goroutine it is.
func TestPanicsAreContained(t *testing.T) {
	b := openMemory(t)
	for _, ctx := range []context.Context{context.Background(), testContext(t)} {
		err := badger.Write(b, ctx, func(*badgerdb.Txn) error { panic("of Badger's") })
		assert.ErrorContains(t, err, "of Badger's")
	}
	create(t, b, record("id", "owner", "the lock is free"))
}
