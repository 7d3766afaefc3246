package mongo

import (
	"context"
	"errors"
	"time"

	"example.com/keystore/backend"
)

// lookTries bounds the repeats of a write whose answer does not fit what a read
// shows then. That passes as soon as a majority has the latest write.
const lookTries = 1000

var errUnsettled = refused(errors.New("mongo: what is written and what is read do not agree"))

// Create implements [backend.Backend]. It takes the place of a tombstone, which
// has revision 0, or makes a document; beside a document with another revision
// there is room for none with its _id.
func (b *Backend) Create(ctx context.Context, r backend.Record) error {
	return b.answer(b.create(ctx, r))
}

func (b *Backend) create(ctx context.Context, r backend.Record) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	if err := checkRecord(r); err != nil {
		return refused(err)
	}
	change, err := content(r, 1, doc(fieldOwner, r.Owner), fieldLastUsed)
	if err != nil {
		return refused(err)
	}
	upsert := append(statement(doc(fieldID, r.ID, fieldRev, int64(0)), change), doc("upsert", true)...)
	for try := 1; try <= lookTries; try++ {
		_, err := b.updates(ctx, b.keys, upsert)
		if !hasCode(err, codeDuplicateKey) {
			return err
		}
		stored, err := b.load(ctx, b.keys, r.ID)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			// Deleted in between, or created and not yet with a majority.
		case errors.Is(err, errDamaged):
			return backend.ErrExists
		case err != nil:
			return refused(err)
		case stored.Revision == 1 && stored.Owner == r.Owner && sameContent(stored, r):
			return nil
		default:
			return backend.ErrExists
		}
		if err := backoff(ctx, try); err != nil {
			return refused(contextError(err))
		}
	}
	return errUnsettled
}

// linearizableTimeout bounds a linearizable Get whose context has no deadline: a
// member that is cut off from its replica set waits for ever.
const linearizableTimeout = 10 * time.Second

// Get implements [backend.Backend]. A document that is no record of ours comes
// without Data, which no reader takes for a key.
func (b *Backend) Get(ctx context.Context, id string) (backend.Record, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return backend.Record{}, err
	}
	if _, bounded := ctx.Deadline(); b.opts.Linearizable && !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, linearizableTimeout)
		defer cancel()
	}
	r, err := b.load(ctx, b.lookups, id)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, errDamaged):
		return backend.Record{ID: id}, nil
	case errors.Is(err, backend.ErrNotFound):
		return backend.Record{}, err
	default:
		return backend.Record{}, b.readAnswer(err)
	}
}

// Update implements [backend.Backend].
func (b *Backend) Update(ctx context.Context, r backend.Record) error {
	return b.answer(b.update(ctx, r))
}

func (b *Backend) update(ctx context.Context, r backend.Record) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	if err := checkRecord(r); err != nil {
		return refused(err)
	}
	rev := int64(r.Revision)
	change, err := content(r, rev+1, nil)
	if err != nil {
		return refused(err)
	}
	for try := 1; try <= lookTries; try++ {
		// Revision 0 is that of tombstones, and beyond 2^63 there is none.
		if rev > 0 {
			n, err := b.updates(ctx, b.keys, statement(doc(fieldID, r.ID, fieldRev, rev), change))
			if err != nil || n > 0 {
				return err
			}
		}
		stored, err := b.load(ctx, b.keys, r.ID)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return errGone
		case err != nil:
			return refused(err)
		case stored.Revision == r.Revision+1 && sameContent(stored, r):
			return nil
		case stored.Revision != r.Revision:
			return errConflict
		}
		// Another write came first, and a majority does not have it yet.
		if err := backoff(ctx, try); err != nil {
			return refused(contextError(err))
		}
	}
	return errUnsettled
}

// Delete implements [backend.Backend]. It leaves a tombstone for Watch, and now
// and then removes old ones.
func (b *Backend) Delete(ctx context.Context, id string) error {
	return b.answer(b.delete(ctx, id))
}

func (b *Backend) delete(ctx context.Context, id string) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	_, err = b.updates(ctx, b.keys, statement(doc(fieldID, id, fieldRev, present), tombstone()))
	if err == nil {
		b.sweepSometimes(ctx)
	}
	return err
}
