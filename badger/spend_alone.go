package badger

import (
	"errors"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// spendAlone makes a spend that has no company without the queue: its transaction
// begins on the caller's goroutine and ends on one of Badger's, which saves the way
// to that of the queue and back. It reports whether it did. What is not plain is left
// to the queue: others that write, a lock that is taken, errors.
//
// As a read does, it takes the risk of a commit that begins just now: see mayWait.
func (b *Backend) spendAlone(s *spending) bool {
	if !b.spends.idle() || !b.shared.writing.CompareAndSwap(0, 1) {
		return false
	}
	stripe := b.shared.tryLock(s.id)
	if stripe == nil {
		b.shared.writing.Add(-1)
		return false
	}
	release := func() {
		<-stripe
		b.shared.writing.Add(-1)
	}
	txn, made, err := b.beginSpend(s)
	if err != nil {
		release()
		return false
	}
	if txn == nil {
		release()
		b.finish(s, nil)
		return true
	}
	ended := func(err error) {
		b.publish(made, err)
		release()
		if errors.Is(err, backend.ErrNotApplied) {
			b.enqueue(s)
		} else {
			b.finish(s, err)
		}
	}
	if err := commitAside(b.db, txn, func(err error) { ended(committed(err)) }); err != nil {
		ended(err)
	}
	return true
}

// beginSpend makes a spend in a transaction that is to be committed. There is none if
// nothing is to be written.
func (b *Backend) beginSpend(s *spending) (txn *badgerdb.Txn, made effect, err error) {
	defer contain(b.db, &err)
	if b.shared.unfinished.Load() { // since the call was admitted
		return nil, effect{}, refused(ErrUnfinishedRestore)
	}
	txn = b.db.NewTransaction(true)
	made, changed, err := b.spendOf(txn, []*spending{s})
	if err != nil || !changed {
		txn.Discard()
		return nil, effect{}, err
	}
	return txn, made, nil
}

// commitAside commits a transaction and calls ended on another goroutine, or returns
// the error of a panic.
func commitAside(db *badgerdb.DB, txn *badgerdb.Txn, ended func(error)) (err error) {
	defer contain(db, &err)
	txn.CommitWith(ended)
	return nil
}
