package badger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Create implements [backend.Backend]. It refuses an id outside the contract's
// grammar, data over 64 KiB and an owner over 32 KiB.
func (b *Backend) Create(ctx context.Context, r backend.Record) error {
	// A copy of the data, since the write may outlive the call.
	r = backend.Record{ID: r.ID, Owner: r.Owner, Data: bytes.Clone(r.Data), PurgeAt: r.PurgeAt, Revision: 1}
	return b.write(ctx, fullReserve, func(txn *badgerdb.Txn) (effect, error) {
		if err := checkRecord(r); err != nil {
			return effect{}, err
		}
		old, err := b.load(txn, r.ID)
		switch {
		case err == nil && old.Revision == 1 && old.Owner == r.Owner && sameContent(old, r):
			return effect{}, nil
		case err == nil:
			return effect{}, backend.ErrExists
		case !errors.Is(err, backend.ErrNotFound):
			return effect{}, err
		}
		if err := txn.Set(b.keys.owner(r.Owner, r.ID), present); err != nil {
			return effect{}, err
		}
		return b.put(txn, backend.Record{}, r)
	}, r.ID)
}

// Get implements [backend.Backend]. A record whose header is damaged or of a
// later version comes without Data, which no reader takes for a key.
func (b *Backend) Get(ctx context.Context, id string) (backend.Record, error) {
	if err := b.enter(ctx); err != nil {
		return backend.Record{}, err
	}
	// As read does, without its closure where the read is made here: every lookup
	// comes this way, and feels it.
	if !b.mayWait(ctx) {
		defer b.calls.RUnlock()
		return b.get(id)
	}
	return readAside(ctx, b, func() (backend.Record, error) { return b.get(id) })
}

func (b *Backend) get(id string) (r backend.Record, err error) {
	defer contain(b.db, &err)
	txn := b.db.NewTransaction(false)
	defer txn.Discard()
	r, err = b.load(txn, id)
	if damaged(err) {
		return backend.Record{ID: id}, nil
	}
	return r, err
}

// damaged reports whether a record is there and cannot be read.
func damaged(err error) bool {
	return errors.Is(err, envelope.ErrMalformed) || errors.Is(err, envelope.ErrVersion)
}

// Update implements [backend.Backend]. It refuses data over 64 KiB.
func (b *Backend) Update(ctx context.Context, r backend.Record) error {
	r.Owner = ""                 // ignored, whatever its length
	r.Data = bytes.Clone(r.Data) // see Create
	return b.write(ctx, fullReserve, func(txn *badgerdb.Txn) (effect, error) {
		if err := checkRecord(r); err != nil {
			return effect{}, err
		}
		old, err := b.load(txn, r.ID)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return effect{}, errGone
		case err != nil:
			return effect{}, err
		case old.Revision == r.Revision+1 && sameContent(old, r):
			return effect{}, nil
		case old.Revision != r.Revision:
			return effect{}, errConflict
		}
		changed := old
		changed.Data, changed.PurgeAt, changed.Revision = r.Data, r.PurgeAt, old.Revision+1
		return b.put(txn, old, changed)
	}, r.ID)
}

// Delete implements [backend.Backend].
func (b *Backend) Delete(ctx context.Context, id string) error {
	return b.write(ctx, halfReserve, func(txn *badgerdb.Txn) (effect, error) {
		r, err := b.load(txn, id)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return effect{}, nil
		case damaged(err):
			// Its index entries cannot be told; List and Purge pass over them.
			return effect{ids: []string{id}}, txn.Delete(b.keys.record(id))
		case err != nil:
			return effect{}, err
		}
		return effect{ids: []string{id}}, b.remove(txn, r)
	}, id)
}

// load reads a record. What it returns is not Badger's memory.
func (b *Backend) load(txn *badgerdb.Txn, id string) (backend.Record, error) {
	item, err := txn.Get(b.keys.record(id))
	if errors.Is(err, badgerdb.ErrKeyNotFound) {
		return backend.Record{}, backend.ErrNotFound
	}
	if err != nil {
		return backend.Record{}, fmt.Errorf("badger: %w", describe(err))
	}
	return decode(txn, id, item)
}

// decode takes apart a copy of the value, which is Badger's memory.
func decode(txn *badgerdb.Txn, id string, item *badgerdb.Item) (backend.Record, error) {
	value, err := valueOf(txn, item, nil)
	if err != nil {
		return backend.Record{}, fmt.Errorf("badger: record %q: %w", id, describe(err))
	}
	h, owner, data, err := envelope.Decode(value)
	if err != nil {
		return backend.Record{}, fmt.Errorf("badger: record %q: %w", id, err)
	}
	return backend.Record{
		ID: id, Owner: string(owner), Data: data,
		Revision: h.Revision, LastUsed: h.LastUsed.Time(), PurgeAt: h.PurgeAt.Time(),
	}, nil
}

// maxFetches bounds how often an item is fetched anew whose value is empty. Once
// is enough unless the collection moves the value again meanwhile.
const maxFetches = 3

// valueOf copies the value of an item to dst. Nothing that the driver stores is empty:
// where Badger cannot read its value log it tells only its logger, and returns an
// empty value (v4.9.6, iterator.go, yieldItemValue). The value need not be lost:
// since the item was fetched, garbage collection may have moved the value and
// removed the file that the item points to. It waits for iterators, save in a race
// (value.go, decrIteratorCount decides before it locks), so their items are read
// in this way too.
func valueOf(txn *badgerdb.Txn, item *badgerdb.Item, dst []byte) ([]byte, error) {
	value, err := item.ValueCopy(dst)
	for n := 0; n < maxFetches && err == nil && len(value) == 0; n++ {
		if item, err = txn.Get(item.Key()); err == nil {
			value, err = item.ValueCopy(dst)
		}
	}
	return value, err
}

// put writes a record and its purge index entry in place of old's.
func (b *Backend) put(txn *badgerdb.Txn, old, r backend.Record) (effect, error) {
	h := envelope.Header{Revision: r.Revision}
	oldPurgeAt, err := envelope.TimeOf(old.PurgeAt)
	if err != nil {
		return effect{}, err
	}
	if h.LastUsed, err = envelope.TimeOf(r.LastUsed); err != nil {
		return effect{}, err
	}
	if h.PurgeAt, err = envelope.TimeOf(r.PurgeAt); err != nil {
		return effect{}, err
	}
	value, err := envelope.Append(make([]byte, 0, envelope.Len(r.Owner, r.Data)), h, r.Owner, r.Data)
	if err != nil {
		return effect{}, err
	}
	if err := txn.Set(b.keys.record(r.ID), value); err != nil {
		return effect{}, err
	}
	made := effect{ids: []string{r.ID}}
	if h.PurgeAt == oldPurgeAt {
		return made, nil
	}
	if oldPurgeAt != 0 {
		if err := txn.Delete(b.keys.due(kindPurge, entry{r.ID, oldPurgeAt})); err != nil {
			return effect{}, err
		}
	}
	if h.PurgeAt == 0 {
		return made, nil
	}
	made.due, made.index = h.PurgeAt, &b.shared.purged
	return made, txn.Set(b.keys.due(kindPurge, entry{r.ID, h.PurgeAt}), present)
}

// remove deletes a record and its index entries.
func (b *Backend) remove(txn *badgerdb.Txn, r backend.Record) error {
	if err := txn.Delete(b.keys.record(r.ID)); err != nil {
		return err
	}
	if err := txn.Delete(b.keys.owner(r.Owner, r.ID)); err != nil {
		return err
	}
	at, err := envelope.TimeOf(r.PurgeAt)
	if err != nil || at == 0 {
		return err
	}
	return txn.Delete(b.keys.due(kindPurge, entry{r.ID, at}))
}

// sameContent reports whether the stored record is what writing r leaves.
func sameContent(stored, r backend.Record) bool {
	return bytes.Equal(stored.Data, r.Data) && stored.PurgeAt.Equal(r.PurgeAt.Truncate(time.Millisecond))
}
