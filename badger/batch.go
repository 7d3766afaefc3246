package badger

import (
	"context"
	"errors"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/internal/envelope"
)

// chunkLen is how many records one transaction of Touch or Purge changes: many
// share a sync, and others wait little for their locks.
const chunkLen = 128

// entry is an id and a time that goes with it.
type entry struct {
	id string
	at envelope.Time
}

// before is the order of the purge index.
func (e entry) before(other entry) bool {
	return e.at < other.at || e.at == other.at && e.id < other.id
}

// writeChunk applies step to all entries in one transaction, or in several if
// one does not hold them, but each entry wholly in one. It returns how many ids
// the steps that were committed said they changed.
func (b *Backend) writeChunk(ctx context.Context, share share, entries []entry, step func(txn *badgerdb.Txn, e entry) (changed []string, err error)) (int, error) {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.id
	}
	count := 0
	err := b.write(ctx, share, func(txn *badgerdb.Txn) (effect, error) {
		var all []string
		for _, e := range entries {
			changed, err := step(txn, e)
			if err != nil {
				return effect{}, err
			}
			all = append(all, changed...)
		}
		count = len(all)
		return effect{ids: all}, nil
	}, ids...)
	if err == nil {
		return count, nil
	}
	if !errors.Is(err, badgerdb.ErrTxnTooBig) || len(entries) == 1 {
		return 0, err
	}
	half := len(entries) / 2
	first, err := b.writeChunk(ctx, share, entries[:half], step)
	if err != nil {
		return first, err
	}
	second, err := b.writeChunk(ctx, share, entries[half:], step)
	if err != nil {
		err = partial{err}
	}
	return first + second, err
}
