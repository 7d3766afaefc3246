package keystore

import (
	"context"
	"errors"
	"time"
)

// Revoke ends the key for ever: no lookup accepts it once Revoke has returned.
// It is idempotent: the first time and reason (at most 1024 bytes) stay. It
// goes on until the context ends while other writers keep changing the key.
//
// Errors: ErrInvalid for the reason, ErrNotFound, ErrUnavailable,
// ErrUnknownOutcome (call it again; the key may be gone by then), ErrCorrupt (Delete it), ErrClosed; and
// ErrConflict after 1024 tries, which only a broken backend makes of it.
func (s *Keystore) Revoke(ctx context.Context, id, reason string) (Key, error) {
	return s.revoke(ctx, id, "", reason)
}

func (s *Keystore) revoke(ctx context.Context, id, owner, reason string) (Key, error) {
	e := &Event{Action: ActionRevoke, KeyID: id}
	return s.manage(ctx, "revoke", e, func(ctx context.Context) (Key, error) {
		if err := checkText("reason", reason, maxReasonLen); err != nil {
			return Key{}, err
		}
		key, err := s.change(ctx, id, owner, revocation(reason))
		e.Detail = key.RevokeReason
		return key, err
	})
}

func revocation(reason string) edit {
	return func(r *record, now time.Time) (retries, error) {
		if !r.key.RevokedAt.IsZero() {
			return untilDeadline, errUnchanged
		}
		r.key.RevokedAt, r.key.RevokeReason = now, reason
		return untilDeadline, nil
	}
}

// RevokeAll revokes every key of the owner whose Generate returned before the
// call, and returns how many it revoked. An error for one key does not stop it:
// the others are revoked, and the errors are joined. Calling it again goes on
// with what is left. Errors: ErrInvalid for owner or reason, and those of Revoke
// and List.
func (s *Keystore) RevokeAll(ctx context.Context, owner, reason string) (revoked int, err error) {
	ctx, end := s.begin(ctx, "revoke_all", "")
	err = ErrPanicked
	defer func() { end(err) }()
	return s.revokeAll(ctx, owner, reason)
}

func (s *Keystore) revokeAll(ctx context.Context, owner, reason string) (int, error) {
	if err := checkOwner(owner); err != nil {
		return 0, err
	}
	if err := checkText("reason", reason, maxReasonLen); err != nil {
		return 0, err
	}
	revoked := 0
	var failed []error
	for r, err := range s.walk(ctx, owner) {
		if err != nil {
			s.tell(ctx, &Event{Action: ActionRevoke, KeyID: r.key.ID, Owner: owner, Detail: reason}, Key{}, err)
			failed = append(failed, err)
			continue
		}
		if !r.key.RevokedAt.IsZero() {
			s.family.seen(r.key.ID, r.key.revision)
			continue
		}
		done, err := s.revokeOne(ctx, r.key.ID, owner, reason)
		switch {
		case done:
			revoked++
		case errors.Is(err, ErrNotFound), errors.Is(err, errGone): // deleted meanwhile: it works no more
		case err != nil:
			failed = append(failed, err)
			if ctx.Err() != nil {
				return revoked, errors.Join(failed...)
			}
		}
	}
	return revoked, errors.Join(failed...)
}

// revokeOne is Revoke for RevokeAll, which tells the audit of what it revoked
// itself.
func (s *Keystore) revokeOne(ctx context.Context, id, owner, reason string) (done bool, err error) {
	var key Key
	before := false
	err = ErrPanicked
	defer func() {
		if !before && !errors.Is(err, ErrNotFound) {
			s.tell(ctx, &Event{Action: ActionRevoke, KeyID: id, Owner: owner, Detail: reason}, key, err)
		}
	}()
	key, err = s.change(ctx, id, owner, func(r *record, now time.Time) (retries, error) {
		before = !r.key.RevokedAt.IsZero()
		return revocation(reason)(r, now)
	})
	return err == nil && !before, err
}
