package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"example.com/keystore/backend"
)

// Spend implements [backend.Counter]. It is one conditional change of one document,
// which the server returns as it is then. Where the condition is not met there is no
// room for another document of that _id, and a look tells why: the spend was counted
// already, or a window is full.
func (b *Backend) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	done, err := b.spend(ctx, s)
	return done, b.answer(err)
}

func (b *Backend) spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return backend.Spent{}, err
	}
	if err := checkSpend(s); err != nil {
		return backend.Spent{}, refused(err)
	}
	filter, change, err := spendStatement(s)
	if err != nil {
		return backend.Spent{}, refused(err)
	}
	for try := 1; try <= lookTries; try++ {
		if (counter{}).room(s) { // else it fits into no window, be it empty
			after, err := b.upsert(ctx, b.counts, filter, change)
			if err == nil {
				return b.spentNow(ctx, s, after)
			}
			if !hasCode(err, codeDuplicateKey) {
				return backend.Spent{}, damaging(err)
			}
		}
		c, err := b.counter(ctx, s.ID)
		switch {
		case err != nil:
			return backend.Spent{}, refused(err)
		case c.has(s):
			return backend.Spent{OK: true, Counts: c.of(s.Windows)}, nil
		case !c.room(s):
			return backend.Spent{Counts: c.of(s.Windows)}, nil
		}
		// Spends that a majority does not have yet are in the way, or they were reset.
		if err := backoff(ctx, try); err != nil {
			return backend.Spent{}, refused(contextError(err))
		}
	}
	return backend.Spent{}, errUnsettled
}

// spentNow is the answer to a spend that left the document like this. That it was
// made is not told if the document makes no sense, such as a count that is no number:
// it would be a pass at every limit.
func (b *Backend) spentNow(ctx context.Context, s backend.Spend, after bson.Raw) (backend.Spent, error) {
	c, err := decodeCounter(after, s.ID)
	if err != nil {
		return backend.Spent{}, err
	}
	counts := c.of(s.Windows)
	for _, count := range counts {
		if count < s.Cost {
			return backend.Spent{}, errDamagedCounts
		}
	}
	b.forget(ctx, s.ID, c)
	return backend.Spent{OK: true, Counts: counts}, nil
}

// damaging gives a failure of a write its name if what is stored is the reason: the
// server cannot add to it. Such a write had no effect.
func damaging(err error) error {
	if hasCode(err, codeBadValue, codeTypeMismatch) {
		return refused(fmt.Errorf("%w: %w", errDamagedCounts, err))
	}
	return err
}

// forget removes windows that are superfluous, unless they have been spent in since.
// Whoever calls it has done its own work: what fails here is done another time.
func (b *Backend) forget(ctx context.Context, id string, c counter) {
	old := c.superfluous()
	if len(old) == 0 {
		return
	}
	filter := doc(fieldID, id)
	var fields []string
	for _, key := range old {
		filter = append(filter, bson.E{Key: prefixSpent + key, Value: c.windows[key].last})
		fields = append(fields, prefixCount+key, prefixSpent+key)
	}
	_, err := b.updates(ctx, b.counts, statement(filter, doc("$unset", without(fields...))))
	if err != nil && ctx.Err() == nil && !b.isClosed() {
		b.log.Warn("windows that have passed could not be removed", "error", err)
	}
}

// counter reads the counts of a key as a majority knows them.
func (b *Backend) counter(ctx context.Context, id string) (counter, error) {
	raw, err := b.counts.FindOne(ctx, doc(fieldID, id)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return counter{}, nil
	}
	if err != nil {
		return counter{}, fmt.Errorf("mongo: %w", err)
	}
	return decodeCounter(raw, id)
}

// Counts implements [backend.Counter].
func (b *Backend) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	c, err := b.counter(ctx, id)
	if err != nil {
		return nil, b.readAnswer(err)
	}
	return c.of(windows), nil
}

// ResetCounts implements [backend.Counter]. It removes the document, whatever is
// in it.
func (b *Backend) ResetCounts(ctx context.Context, id string) error {
	ctx, err := b.enter(ctx)
	if err == nil {
		_, err = b.deletes(ctx, b.counts, doc(fieldID, id))
	}
	return b.answer(err)
}

// PurgeCounts implements [backend.Counter]. It works in chunks of 64 keys. A window
// that was forgotten for later ones still counts among those that must have ended.
func (b *Backend) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purgeDocuments(ctx, b.counts, now, limit)
}
