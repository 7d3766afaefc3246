package keystore

import (
	"context"
	"errors"
	"time"

	"example.com/keystore/backend"
)

// outcome is what became of one record: how the target's stood to it when that
// was last seen, and why it was not copied. The zero outcome is that of a record
// which the copy did not come to.
type outcome struct {
	target  relation
	problem error
}

// count adds the outcome of one record.
func (r *CopyResult) count(id string, o outcome) {
	switch o.target {
	case unseen:
		return
	case isMissing:
		r.Created++
	case isOlder:
		r.Updated++
	case isSame:
		r.Unchanged++
	case isNewer:
		r.Kept++
	case isUnrevoked:
		r.Revoked++
	case isDiverged:
		r.Diverged++
	case isDamaged:
		r.Damaged++
	}
	r.Read++
	if o.problem != nil && len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, CopyProblem{ID: id, Err: o.problem})
	}
}

// record brings a key of the source to the target, which may have changed since
// its record was read.
func (c *copier) record(ctx context.Context, t twins) (outcome, error) {
	for try := 1; ; try++ {
		done, err := c.write(ctx, t)
		switch {
		case err == nil:
			return done, nil
		case errors.Is(err, backend.ErrNotFound):
			return outcome{target: isNewer}, nil // the target's program has just deleted it
		case !errors.Is(err, backend.ErrExists) && !errors.Is(err, backend.ErrConflict):
			return outcome{}, err
		case try == conflictTries:
			return outcome{isDiverged, keyError(t.from.ID, ErrConflict)}, nil
		}
		// Another writer came first, or it was this one and its reply was lost.
		// What the target has now tells what is left to do.
		if err := backoff(ctx, try); err != nil {
			return outcome{}, c.target.unavailable(ctx, "key "+t.from.ID, err)
		}
		now, err := c.target.load(ctx, t.from.ID)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return outcome{target: isNewer}, nil
		case err != nil:
			return outcome{}, c.target.unavailable(ctx, "key "+t.from.ID, err)
		}
		t.to = &now
	}
}

// write makes the one write that the twins ask for, if any. Its error is one of
// send: the backend's answer that the target has changed, or an outage.
func (c *copier) write(ctx context.Context, t twins) (outcome, error) {
	rel, problem := t.relation()
	done := outcome{rel, problem}
	next := backend.Record{ID: t.from.ID, Owner: t.from.Owner, Data: t.from.Data, PurgeAt: t.from.PurgeAt}
	switch rel {
	case isMissing:
		create := func(op context.Context) error { return c.target.backend.Create(op, next) }
		return done, c.target.sendChange(ctx, next.ID, create, backend.ErrExists)
	case isOlder:
		next.Revision = t.to.Revision
		update := func(op context.Context) error { return c.target.backend.Update(op, next) }
		return done, c.target.sendChange(ctx, next.ID, update, backend.ErrConflict, backend.ErrNotFound)
	case isUnrevoked:
		return c.revoke(ctx, t.from)
	}
	return done, nil
}

// revoke revokes the target's key as the source's is, and leaves it as it is
// otherwise.
func (c *copier) revoke(ctx context.Context, from *backend.Record) (outcome, error) {
	var source record
	if err := source.open(from, from.ID); err != nil {
		return outcome{isDamaged, err}, nil
	}
	done := outcome{target: isUnrevoked}
	_, err := c.target.change(ctx, from.ID, from.Owner, func(r *record, _ time.Time) (retries, error) {
		if !r.key.RevokedAt.IsZero() {
			done.target = isNewer
			return untilDeadline, errUnchanged
		}
		r.key.RevokedAt, r.key.RevokeReason = source.key.RevokedAt, source.key.RevokeReason
		return untilDeadline, nil
	})
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, errGone):
		return outcome{target: isNewer}, nil
	case errors.Is(err, ErrCorrupt):
		return outcome{isDamaged, err}, nil
	case errors.Is(err, ErrConflict):
		return outcome{isDiverged, err}, nil
	}
	return done, err
}
