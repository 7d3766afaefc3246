package badger

import (
	"context"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// Database gives tests the database under a backend.
func Database(b *Backend) *badgerdb.DB { return b.db }

// Attached counts the stores that handles are open on.
func Attached() int {
	stores.Lock()
	defer stores.Unlock()
	return len(stores.open)
}

// Write runs fn as the driver runs its writes.
func Write(b *Backend, ctx context.Context, fn func(*badgerdb.Txn) error) error {
	return b.write(ctx, fullReserve, func(txn *badgerdb.Txn) (effect, error) { return effect{}, fn(txn) }, "id")
}

// WriteChunk applies step to ids as Touch and Purge do.
func WriteChunk(b *Backend, step func(id string) error, ids ...string) error {
	entries := make([]entry, len(ids))
	for i, id := range ids {
		entries[i].id = id
	}
	_, err := writeChunk(context.Background(), b, fullReserve, entries, func(_ *badgerdb.Txn, e entry) (effect, error) {
		return effect{}, step(e.id)
	})
	return err
}

// WriteAll runs fn while every lock is held.
func WriteAll(b *Backend, fn func()) error {
	unlock, err := b.shared.lockAll(b.closing)
	if err != nil {
		return err
	}
	defer unlock()
	fn()
	return nil
}

// WaitForLock takes and releases the lock of an id, as writes without a deadline do.
func WaitForLock(b *Backend) error {
	unlock, err := b.shared.lock(context.Background(), b.closing, "id")
	if err == nil {
		unlock()
	}
	return err
}

const (
	ChunkLen       = chunkLen
	PurgeChunkLen  = purgeChunkLen
	DefaultReserve = int64(defaultReserve)
)

var (
	Decode          = decode
	CollectGarbage  = (*Backend).rewriteValueLog
	ErrDatabaseGone = errDatabaseClosed
	FreeSpace       = freeSpace
	TryLock         = tryLock
	LocalPath       = localPath
)

// ReadBackup reads a backup to its end and returns how many records it holds.
func ReadBackup(r interface{ Read([]byte) (int, error) }) (int, error) {
	in, err := newBackupReader(r)
	for n := 0; ; n++ {
		if err == nil {
			_, err = in.next()
		}
		if err != nil {
			return n, err
		}
	}
}

// RecodeCounts decodes and encodes counts.
func RecodeCounts(value string) (string, error) {
	c, err := decodeCounts([]byte(value), nil)
	if err != nil {
		return "", err
	}
	return string(c.encode()), nil
}

// RecodeTally decodes and encodes a tally.
func RecodeTally(value string) (string, error) {
	t, err := decodeTally([]byte(value))
	if err != nil {
		return "", err
	}
	return string(t.encode()), nil
}

// WaitingSpends counts those that no transaction has taken yet.
func WaitingSpends(b *Backend) int {
	b.spends.mu.Lock()
	defer b.spends.mu.Unlock()
	return len(b.spends.waiting)
}

// CheckedForRoom has a handle believe that spends looked for room at a time.
func CheckedForRoom(b *Backend, at time.Time) { b.spends.checked.Store(at.UnixNano()) }

// SpendsTaken counts those of the transaction under way.
func SpendsTaken(b *Backend) int {
	b.spends.mu.Lock()
	defer b.spends.mu.Unlock()
	return b.spends.taken
}

// SpendBetween makes a spend, and calls between before each attempt is committed.
func SpendBetween(b *Backend, s backend.Spend, between func()) (backend.Spent, error) {
	own, err := newSpending(s)
	if err != nil {
		return backend.Spent{}, err
	}
	err = b.commit(context.Background(), func(txn *badgerdb.Txn) (effect, error) {
		made, err := b.spendOf(txn, []*spending{own})
		between()
		return made, err
	})
	return own.spent, err
}
