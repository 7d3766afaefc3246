package badger

import (
	"context"
	"errors"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Touch implements [backend.Backend]. It works in chunks of 128 ids and passes
// over records that are damaged.
func (b *Backend) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	b.calls.RUnlock()
	entries := make([]entry, 0, len(used))
	for id, t := range used {
		at, err := envelope.TimeOf(t)
		if err != nil {
			return refused(err)
		}
		entries = append(entries, entry{id, at})
	}
	return inChunks(ctx, b, fullReserve, entries, b.touch)
}

func (b *Backend) touch(txn *badgerdb.Txn, e entry) (effect, error) {
	r, err := b.load(txn, e.id)
	if errors.Is(err, backend.ErrNotFound) || damaged(err) {
		return effect{}, nil
	}
	if err != nil || !e.at.Time().After(r.LastUsed) {
		return effect{}, err
	}
	used := r
	used.LastUsed = e.at.Time()
	_, err = b.put(txn, r, used) // of which no watcher is told
	return effect{}, err
}
