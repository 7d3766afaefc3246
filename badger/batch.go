package badger

import (
	"context"
	"errors"
	"slices"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/internal/envelope"
)

// chunkLen is how many records one transaction of those calls changes that work in
// chunks: many share a sync, and others wait little for their locks.
const chunkLen = 128

// entry is an id and a time that goes with it.
type entry struct {
	id string
	at envelope.Time
}

func (e entry) lockID() string { return e.id }

// before is the order of an index by time.
func (e entry) before(other entry) bool {
	return e.at < other.at || e.at == other.at && e.id < other.id
}

// writeChunk applies step to all items in one transaction, or in several if one
// does not hold them, but each item wholly in one. It returns how many were purged
// by the steps that were committed.
func writeChunk[T interface{ lockID() string }](ctx context.Context, b *Backend, share share, items []T, step func(*badgerdb.Txn, T) (effect, error)) (int, error) {
	ids := make([]string, len(items))
	for i, item := range items {
		ids[i] = item.lockID()
	}
	purged := 0
	err := b.write(ctx, share, func(txn *badgerdb.Txn) (effect, error) {
		var all effect
		for _, item := range items {
			made, err := step(txn, item)
			if err != nil {
				return effect{}, err
			}
			all.add(made)
		}
		purged = all.purged
		return all, nil
	}, ids...)
	if err == nil {
		return purged, nil
	}
	if !errors.Is(err, badgerdb.ErrTxnTooBig) || len(items) == 1 {
		return 0, err
	}
	half := len(items) / 2
	first, err := writeChunk(ctx, b, share, items[:half], step)
	if err != nil {
		return first, err
	}
	second, err := writeChunk(ctx, b, share, items[half:], step)
	if err != nil {
		err = partial{err}
	}
	return first + second, err
}

// inChunks calls writeChunk for a chunk after the other.
func inChunks[T interface{ lockID() string }](ctx context.Context, b *Backend, share share, items []T, step func(*badgerdb.Txn, T) (effect, error)) error {
	first := true
	for chunk := range slices.Chunk(items, chunkLen) {
		_, err := writeChunk(ctx, b, share, chunk, step)
		if err != nil && !first {
			return partial{err}
		}
		if err != nil {
			return err
		}
		first = false
	}
	return nil
}
