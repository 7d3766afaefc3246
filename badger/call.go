package badger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// enter admits a call. b.calls.RUnlock must follow when nothing of the call
// uses the database any more, be it after the call has returned.
func (b *Backend) enter(ctx context.Context) error {
	ended := ctx.Err() != nil // here, where nothing is held: a context may panic
	// Only Close takes this lock for writing, and for good.
	if !b.calls.TryRLock() {
		return backend.ErrClosed
	}
	err := b.ready(ctx, ended)
	if err != nil {
		b.calls.RUnlock()
	}
	return err
}

func (b *Backend) ready(ctx context.Context, ended bool) error {
	switch {
	case ended:
		return contextError(ctx)
	case b.db.IsClosed():
		return errDatabaseClosed
	case b.shared.unfinished.Load():
		return ErrUnfinishedRestore
	}
	return nil
}

// read runs fn in a read transaction.
func read[T any](ctx context.Context, b *Backend, fn func(*badgerdb.Txn) (T, error)) (T, error) {
	if err := b.enter(ctx); err != nil {
		var none T
		return none, err
	}
	if !b.mayWait(ctx) {
		defer b.calls.RUnlock()
		return view(b.db, fn)
	}
	return readAside(ctx, b, func() (T, error) { return view(b.db, fn) })
}

// mayWait reports whether a read that begins now must not be made on the
// caller's goroutine. A new transaction waits for the commits under way, and so
// for the disk. There are none as a rule. The commit that begins between this
// and the transaction is a risk worth its saving.
func (b *Backend) mayWait(ctx context.Context) bool {
	return b.shared.writing.Load() != 0 && ctx.Done() != nil
}

// readAside makes a read that enter has admitted on a goroutine of its own, and
// leaves.
func readAside[T any](ctx context.Context, b *Backend, read func() (T, error)) (T, error) {
	select {
	case b.shared.lateReads <- struct{}{}:
	case <-ctx.Done():
		b.calls.RUnlock()
		var none T
		return none, contextError(ctx)
	}
	return await(ctx, contextError, func() (T, error) {
		defer b.calls.RUnlock()
		defer func() { <-b.shared.lateReads }()
		return read()
	})
}

// view is fn in a read transaction of db, on this goroutine.
func view[T any](db *badgerdb.DB, fn func(*badgerdb.Txn) (T, error)) (v T, err error) {
	defer contain(db, &err)
	txn := db.NewTransaction(false)
	defer txn.Discard()
	return fn(txn)
}

// A change is the body of a write. It may run again, and after the call has
// returned: what it uses is the driver's own.
type change func(txn *badgerdb.Txn) (effect, error)

// effect is what others must know of a change once it is committed.
type effect struct {
	ids    []string      // whose watchers are to be told
	due    envelope.Time // the earliest time that the change entered in an index; 0: none
	index  *purged       // that one
	purged int           // how many records the change purged
}

// add adds the effect of a further step of the change.
func (e *effect) add(more effect) {
	e.ids = append(e.ids, more.ids...)
	e.purged += more.purged
	if more.due != 0 && (e.due == 0 || more.due < e.due) {
		e.due, e.index = more.due, more.index
	}
}

// write runs fn in a transaction while it holds the locks of ids, if share of
// the reserve is free.
func (b *Backend) write(ctx context.Context, share share, fn change, ids ...string) error {
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	unlock, err := b.shared.lock(ctx, b.closing, ids...)
	if err != nil {
		b.calls.RUnlock()
		return refused(err)
	}
	_, err = await(ctx, unknownOutcome, func() (struct{}, error) {
		defer b.calls.RUnlock()
		defer unlock()
		// Only now, so that at most one write per lock is under way after the check.
		if err := b.space.check(share); err != nil {
			return struct{}{}, refused(err)
		}
		return struct{}{}, b.commit(ctx, fn)
	})
	return err
}

// maxTries bounds the repeats after a conflict. The locks leave only those with
// writers that are not of this package.
const maxTries = 10

func (b *Backend) commit(ctx context.Context, fn change) error {
	if b.shared.unfinished.Load() { // since the call was admitted
		return refused(ErrUnfinishedRestore)
	}
	b.shared.writing.Add(1)
	defer b.shared.writing.Add(-1)
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return refused(contextError(ctx))
		}
		err := b.attempt(ctx, fn)
		if !errors.Is(err, badgerdb.ErrConflict) || try == maxTries {
			return err
		}
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(try) * int64(time.Millisecond)))):
		case <-ctx.Done():
		}
	}
}

// attempt runs fn in a transaction once, and makes its effect known unless
// nothing can have changed.
func (b *Backend) attempt(ctx context.Context, fn change) (err error) {
	var made effect
	committing := false
	defer func() {
		if !committing || errors.Is(err, backend.ErrNotApplied) {
			return
		}
		if made.due != 0 {
			made.index.enter(made.due)
		}
		for _, id := range made.ids {
			b.shared.changes.Notify(id)
		}
	}()
	defer contain(b.db, &err)
	err = b.db.Update(func(txn *badgerdb.Txn) (err error) {
		if ctx.Err() != nil { // while the transaction waited for others
			return contextError(ctx)
		}
		made, err = fn(txn)
		committing = err == nil
		return err
	})
	switch {
	case err == nil:
		return nil
	case !committing, errors.Is(err, badgerdb.ErrConflict), errors.Is(err, badgerdb.ErrTxnTooBig), errors.Is(err, badgerdb.ErrBlockedWrites):
		return refused(describe(err))
	default:
		return describe(err)
	}
}

// await runs work on a goroutine of its own and returns its results, or the
// error that giveUp makes when ctx ends first. Work goes on then.
func await[T any](ctx context.Context, giveUp func(context.Context) error, work func() (T, error)) (T, error) {
	if ctx.Done() == nil {
		return work()
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := work()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both at once: the better answer
		return r.v, r.err
	default:
		var none T
		return none, giveUp(ctx)
	}
}

func contextError(ctx context.Context) error {
	return fmt.Errorf("badger: the context has ended: %w", ctx.Err())
}

func unknownOutcome(ctx context.Context) error {
	return fmt.Errorf("badger: the context ended during the write, which may yet take effect: %w", ctx.Err())
}
