package badger

import (
	"errors"
	"fmt"
	"io"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// Restore fills an empty store from r, which holds what [Backend.Backup] wrote.
// It refuses a store that is not empty, with [ErrNotEmpty]: an older record over a newer one could
// make a revoked key valid again. While it runs, every other method but Close
// of every handle on the store returns [ErrUnfinishedRestore].
//
// If Restore fails after it has begun to write, or the process ends, the store
// stays closed to all but another Restore, which starts afresh; the error then
// Is ErrUnfinishedRestore too, and [ErrBadBackup] if that is why. The checksum at the end of a backup tells that it
// is unaltered, not whose it is: keep it where nobody else can write.
func (b *Backend) Restore(r io.Reader) (err error) {
	if !b.calls.TryRLock() {
		return backend.ErrClosed
	}
	defer b.calls.RUnlock()
	if b.db.IsClosed() {
		return errDatabaseClosed
	}
	if !b.shared.restoring.TryLock() {
		return refused(errors.New("badger: another Restore is under way"))
	}
	defer b.shared.restoring.Unlock()
	defer contain(b.db, &err)

	in, err := newBackupReader(r)
	if err != nil {
		return refused(err)
	}
	if err := b.beginRestore(); err != nil {
		return err
	}
	if err := b.fill(in); err != nil {
		return fmt.Errorf("%w; the last one failed: %w", ErrUnfinishedRestore, err)
	}
	return nil
}

// beginRestore makes sure that the store is empty, and marks it for the case
// that this process does not get to the end.
func (b *Backend) beginRestore() error {
	unlock, err := b.shared.lockAll(b.closing)
	if err != nil {
		return err
	}
	defer unlock()
	if b.shared.unfinished.Load() {
		return b.clear()
	}
	empty, err := view(b.db, func(txn *badgerdb.Txn) (bool, error) {
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: []byte(b.keys)})
		defer it.Close()
		it.Rewind()
		return !it.Valid(), nil
	})
	if err != nil {
		return refused(err)
	}
	if !empty {
		return refused(ErrNotEmpty)
	}
	if err := b.space.check(fullReserve); err != nil {
		return err
	}
	err = b.db.Update(func(txn *badgerdb.Txn) error { return txn.Set(b.keys.prefix(kindRestore), present) })
	if err != nil {
		return describe(err)
	}
	b.shared.unfinished.Store(true) // before the locks are free: no write comes between
	return nil
}

// clear deletes what an unfinished restore left. All of it is the restore's,
// since nothing else may write meanwhile.
func (b *Backend) clear() error {
	_, err := view(b.db, func(txn *badgerdb.Txn) (struct{}, error) {
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: []byte(b.keys)})
		defer it.Close()
		batch := b.db.NewWriteBatch()
		defer batch.Cancel()
		for it.Rewind(); it.Valid(); it.Next() {
			if it.Item().Key()[len(b.keys)] == kindRestore {
				continue
			}
			if err := b.mayGoOn(halfReserve); err != nil {
				return struct{}{}, err
			}
			if err := batch.Delete(it.Item().KeyCopy(nil)); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, batch.Flush()
	})
	return err
}

// fill writes what a backup holds and takes the mark away once all are
// there and the backup has proved whole.
func (b *Backend) fill(in *backupReader) error {
	batch := b.db.NewWriteBatch()
	defer batch.Cancel()
	for {
		next, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := b.mayGoOn(fullReserve); err != nil {
			return err
		}
		if err := batch.Set(b.keys.of(next.kind, next.id), next.value); err != nil {
			return err
		}
		if next.kind == kindRecord {
			if err := batch.Set(b.keys.owner(next.owner, next.id), present); err != nil {
				return err
			}
		}
		if next.due == 0 {
			continue
		}
		if err := batch.Set(b.keys.due(dueKinds[next.kind], entry{next.id, next.due}), present); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	err := b.db.Update(func(txn *badgerdb.Txn) error { return txn.Delete(b.keys.prefix(kindRestore)) })
	if err != nil {
		return err
	}
	for _, index := range []*purged{&b.shared.purged, &b.shared.purgedCounts, &b.shared.purgedTallies} {
		index.enter(1) // the earliest time: all may be new
	}
	b.shared.unfinished.Store(false)
	b.shared.changes.Notify("")
	return nil
}

// mayGoOn says why a Restore must stop before its next record, if it must.
func (b *Backend) mayGoOn(part share) error {
	select {
	case <-b.closing:
		return backend.ErrClosed
	default:
		return b.space.check(part)
	}
}
