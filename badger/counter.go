package badger

import (
	"context"
	"errors"
	"fmt"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

var _ backend.Counter = (*Backend)(nil)

// Counts implements [backend.Counter].
func (b *Backend) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	wanted := make([]window, len(windows))
	for i, w := range windows {
		var err error
		if wanted[i], err = windowOf(w); err != nil {
			return nil, err
		}
	}
	return read(ctx, b, func(txn *badgerdb.Txn) ([]int64, error) {
		c, err := b.loadCounts(txn, id, new(room))
		if err != nil {
			return nil, err
		}
		found := make([]int64, len(wanted))
		for i, w := range wanted {
			found[i] = c.of(w)
		}
		return found, nil
	})
}

// ResetCounts implements [backend.Counter]. It also does away with counts that are
// damaged.
func (b *Backend) ResetCounts(ctx context.Context, id string) error {
	return b.write(ctx, halfReserve, func(txn *badgerdb.Txn) (effect, error) {
		c, err := b.loadCounts(txn, id, new(room))
		switch {
		case unreadable(err): // their entry in the index cannot be told; PurgeCounts drops it
			return effect{}, txn.Delete(b.keys.of(kindCounts, id))
		case err != nil || c.due == 0:
			return effect{}, err
		}
		return effect{}, b.removeCounts(txn, id, c)
	}, id)
}

// PurgeCounts implements [backend.Counter]. It works in chunks of 32 keys, and
// passes over counts that are damaged.
func (b *Backend) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purgeDue(ctx, now, limit, kindCountsDue, &b.shared.purgedCounts, b.purgeCounts)
}

// purgeCounts deals with an entry of the index of counts: deletes the counts if
// they have ended, and else moves the entry to when they will have. Thus a spend
// need not move it, which would be another write for each new window.
func (b *Backend) purgeCounts(txn *badgerdb.Txn, e entry, until envelope.Time) (effect, error) {
	room := new(room)
	c, err := b.loadCounts(txn, e.id, room)
	switch {
	case unreadable(err):
		return effect{}, nil
	case err != nil:
		return effect{}, err
	case c.due != e.at:
		return effect{}, b.dropStale(txn, kindCountsDue, e)
	case c.end() <= until:
		return effect{purged: 1}, b.removeCounts(txn, e.id, c)
	}
	return b.moveCounts(txn, e.id, c, room)
}

// room is memory for one change of counts at a time. It is used until its transaction
// has ended. The new value has no room here: Badger's subscribers read it later.
type room struct {
	key, value []byte
	windows    []counted
}

// loadCounts reads what is spent of the limits of a key; there is none if due is 0.
func (b *Backend) loadCounts(txn *badgerdb.Txn, id string, r *room) (c counts, err error) {
	r.key = b.keys.append(r.key[:0], kindCounts, id)
	item, err := txn.Get(r.key)
	if errors.Is(err, badgerdb.ErrKeyNotFound) {
		return counts{}, nil
	}
	if err != nil {
		return counts{}, fmt.Errorf("badger: %w", describe(err))
	}
	if r.value, err = valueOf(txn, item, r.value); err != nil {
		return counts{}, fmt.Errorf("badger: counts of %q: %w", id, describe(err))
	}
	if c, err = decodeCounts(r.value, r.windows); err != nil {
		return counts{}, fmt.Errorf("badger: counts of %q: %w", id, err)
	}
	r.windows = c.windows
	return c, nil
}

// putCounts writes counts after a spend. Their entry in the index stays, unless it
// would be too late: the last window to end may have been forgotten.
func (b *Backend) putCounts(txn *badgerdb.Txn, id string, c counts, r *room) (effect, error) {
	if c.due == 0 || c.end() < c.due {
		return b.moveCounts(txn, id, c, r)
	}
	return effect{}, txn.Set(r.key, c.encode())
}

// moveCounts writes counts with their entry in the index where they end.
func (b *Backend) moveCounts(txn *badgerdb.Txn, id string, c counts, r *room) (effect, error) {
	if c.due != 0 {
		if err := txn.Delete(b.keys.due(kindCountsDue, entry{id, c.due})); err != nil {
			return effect{}, err
		}
	}
	c.due = c.end()
	if err := txn.Set(r.key, c.encode()); err != nil {
		return effect{}, err
	}
	return effect{due: c.due, index: &b.shared.purgedCounts}, txn.Set(b.keys.due(kindCountsDue, entry{id, c.due}), present)
}

func (b *Backend) removeCounts(txn *badgerdb.Txn, id string, c counts) error {
	if err := txn.Delete(b.keys.due(kindCountsDue, entry{id, c.due})); err != nil {
		return err
	}
	return txn.Delete(b.keys.of(kindCounts, id))
}
