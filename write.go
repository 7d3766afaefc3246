package keystore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/keystore/backend"
)

// How often a write is tried again.
const (
	conflictTries = 16   // after another writer came first
	urgentTries   = 1024 // the same where only the deadline counts; ends the loop on a broken backend
	sendTries     = 3    // of one write, after its reply was lost
)

// retries says how often a change that lost against another writer is redone.
type retries int

const (
	bounded       retries = iota // conflictTries times
	untilDeadline                // until the context ends: a revocation must not give up
)

// errUnchanged ends a change whose effect is there already.
var errUnchanged = errors.New("unchanged")

// edit changes the record as it is at now. It may run again, on a newer record.
type edit func(r *record, now time.Time) (retries, error)

// change reads the key, edits it and writes it back by compare-and-swap, again
// when another writer came first. The error of edit is returned as it is. With
// ErrUnknownOutcome the key is returned as it would be had the write happened.
func (s *Keystore) change(ctx context.Context, id, owner string, edit edit) (Key, error) {
	for try := 1; ; try++ {
		r, err := s.read(ctx, id, owner)
		if err != nil {
			return Key{}, err
		}
		now := s.now()
		if err := checkClock(now); err != nil {
			return Key{}, err
		}
		again, err := edit(&r, now)
		if errors.Is(err, errUnchanged) {
			return r.view(now), nil
		}
		if err != nil {
			return Key{}, err
		}
		err = s.swap(ctx, &r, now)
		switch {
		case err == nil, errors.Is(err, ErrUnknownOutcome):
			return r.view(now), err
		case !errors.Is(err, ErrConflict):
			return Key{}, err
		case again == bounded && try == conflictTries, try == urgentTries:
			return Key{}, keyError(id, err)
		}
		if err := backoff(ctx, try); err != nil {
			return Key{}, s.unavailable(ctx, "key "+id, err)
		}
	}
}

// read loads and decodes a key. With an owner, a key of another one is as one
// that does not exist.
func (s *Keystore) read(ctx context.Context, id, owner string) (r record, err error) {
	stored, err := s.fetch(ctx, id, owner)
	if err == nil {
		err = r.open(&stored, id)
	}
	return r, err
}

// fetch loads a record without looking into its Data.
func (s *Keystore) fetch(ctx context.Context, id, owner string) (backend.Record, error) {
	if s.closed.Load() {
		return backend.Record{}, ErrClosed
	}
	if !validID(id) {
		return backend.Record{}, notFound(id)
	}
	stored, err := s.load(ctx, id)
	if err == nil || errors.Is(err, backend.ErrNotFound) {
		s.family.seen(id, stored.Revision) // 0 where there is none
	}
	switch {
	case errors.Is(err, backend.ErrNotFound), err == nil && owner != "" && stored.Owner != owner:
		return backend.Record{}, notFound(id)
	case err != nil:
		return backend.Record{}, s.unavailable(ctx, "key "+id, err)
	}
	return stored, nil
}

// seal makes the backend's record of r, with a fresh write id.
func (s *Keystore) seal(r *record, now time.Time) (sealed backend.Record, writeID string, err error) {
	r.tidy(now)
	if writeID, err = r.stamp(); err != nil {
		return backend.Record{}, "", err
	}
	data, err := r.encode()
	if err != nil {
		return backend.Record{}, "", err
	}
	if err := new(record).decode(data); err != nil { // rather no change than a key that is lost
		return backend.Record{}, "", keyError(r.key.ID, fmt.Errorf("keystore: not written, because it could not be read back: %w", err))
	}
	return backend.Record{
		ID: r.key.ID, Owner: r.key.Owner, Data: data, Revision: r.key.revision, PurgeAt: s.purgeAt(&r.key),
	}, writeID, nil
}

// purgeAt is Retention after the key ended or will end, zero if it never does.
func (s *Keystore) purgeAt(k *Key) time.Time {
	end := k.ExpiresAt
	if end.IsZero() || !k.RevokedAt.IsZero() && k.RevokedAt.Before(end) {
		end = k.RevokedAt
	}
	if end.IsZero() || s.opts.Retention == Never {
		return time.Time{}
	}
	return millis(end.Add(s.opts.Retention))
}

// swap writes r over the revision that it was read at and, on success or an
// unknown outcome, moves r to the new one. Its errors are ErrConflict (it
// certainly did not happen), ErrNotFound, ErrUnavailable (nor did this) and
// ErrUnknownOutcome.
//
// A write whose reply was lost is sent again, byte for byte: by contract that
// succeeds if it happened before, or happens now, or is a conflict.
func (s *Keystore) swap(ctx context.Context, r *record, now time.Time) error {
	next, writeID, err := s.seal(r, now)
	if err != nil {
		return err
	}
	err = s.sendChange(ctx, r.key.ID, func(op context.Context) error { return s.backend.Update(op, next) },
		backend.ErrConflict, backend.ErrNotFound)
	if errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrNotApplied) {
		err = s.settle(ctx, r.key.ID, writeID, next.Revision+1, err)
	}
	// Before the key was deleted, the write may have happened: in an attempt
	// whose reply was lost, or one that a client library repeated unseen.
	if errors.Is(err, backend.ErrNotFound) && !errors.Is(err, backend.ErrNotApplied) {
		err = s.unknown(ctx, "key "+r.key.ID, errGone)
	}
	switch {
	case errors.Is(err, backend.ErrConflict):
		return ErrConflict
	case errors.Is(err, backend.ErrNotFound):
		return notFound(r.key.ID)
	case err == nil, errors.Is(err, ErrUnknownOutcome):
		r.key.revision++
	}
	return err
}

// errGone is in an unknown outcome whose key is certainly not there any more.
var errGone = errors.New("the key was deleted, perhaps after this")

// errReplyLost is beside an answer to a write that was sent before, when nothing
// was heard: the first one may have happened, or may yet.
var errReplyLost = errors.New("after a reply was lost")

// sendChange is send for a key, of which no cache of this process keeps anything
// meanwhile.
func (s *Keystore) sendChange(ctx context.Context, id string, write func(op context.Context) error, answers ...error) error {
	defer s.family.changing(id)()
	return s.send(ctx, "key "+id, write, answers...)
}

// send makes one write, and repeats it while its outcome is unknown. It returns
// nil, one of the answers that the contract gives to this write, ErrUnavailable
// if nothing happened, or ErrUnknownOutcome. An answer is ErrNotApplied beside
// only if that holds for all it sent.
func (s *Keystore) send(ctx context.Context, what string, write func(op context.Context) error, answers ...error) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return s.unavailable(ctx, what, err)
	}
	var lost error // the first failure after which the write may have happened
	for try := 1; ; try++ {
		err := s.sendOnce(ctx, write)
		if err == nil {
			return nil
		}
		if i := slices.IndexFunc(answers, func(a error) bool { return errors.Is(err, a) }); i >= 0 {
			if lost != nil {
				return fmt.Errorf("%w, %w", answers[i], errReplyLost)
			}
			return err
		}
		switch {
		case errors.Is(err, backend.ErrNotApplied), errors.Is(err, backend.ErrClosed):
			if lost == nil {
				return s.unavailable(ctx, what, err)
			}
		case lost == nil:
			lost = err
		}
		if try == sendTries || errors.Is(err, backend.ErrClosed) || backoff(ctx, try) != nil {
			return s.unknown(ctx, what, lost)
		}
	}
}

func (s *Keystore) sendOnce(ctx context.Context, write func(op context.Context) error) error {
	op := s.bound(ctx)
	defer op.end()
	return write(op)
}

// unknown wraps the failure of a write that may have happened.
func (s *Keystore) unknown(ctx context.Context, what string, err error) error {
	err = fmt.Errorf("%w: %s: %w", ErrUnknownOutcome, what, foreign{err})
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// settle finds out, after the backend answered that another write came first,
// whether that was our own and another writer has overtaken it since: its id is
// then among the last ones. Our write would have made the given revision. It
// returns nil if it did, and ErrConflict if it neither happened nor ever will.
func (s *Keystore) settle(ctx context.Context, id, writeID string, revision uint64, answer error) error {
	stored, err := s.load(ctx, id)
	if errors.Is(err, backend.ErrNotFound) {
		return backend.ErrNotFound
	}
	if err != nil {
		return s.unknown(ctx, "key "+id, err)
	}
	var r record
	err = r.open(&stored, id)
	switch {
	case err != nil:
		return s.unknown(ctx, "key "+id, err)
	case r.wrote(writeID):
		return nil
	case stored.Revision >= revision+keepWriteIDs:
		return s.unknown(ctx, "key "+id, errors.New("too many other writers came after"))
	case stored.Revision < revision && errors.Is(answer, errReplyLost):
		return s.unknown(ctx, "key "+id, errors.New("the first attempt may yet arrive"))
	}
	return ErrConflict
}

// backoff waits for a random time that grows with each try, up to 64 ms.
func backoff(ctx context.Context, try int) error {
	most := time.Millisecond << min(try-1, 6)
	wait := time.NewTimer(rand.N(most))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
