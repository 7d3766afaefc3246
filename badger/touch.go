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
	for i := 0; i < len(entries); i += chunkLen {
		chunk := entries[i:min(i+chunkLen, len(entries))]
		_, err := b.writeChunk(ctx, fullReserve, chunk, b.touch)
		if err != nil && i > 0 {
			return partial{err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) touch(txn *badgerdb.Txn, e entry) ([]string, error) {
	r, err := b.load(txn, e.id)
	if errors.Is(err, backend.ErrNotFound) || damaged(err) {
		return nil, nil
	}
	if err != nil || !e.at.Time().After(r.LastUsed) {
		return nil, err
	}
	used := r
	used.LastUsed = e.at.Time()
	_, err = b.put(txn, r, used) // of which no watcher is told
	return nil, err
}
