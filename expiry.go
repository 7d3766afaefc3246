package keystore

import (
	"context"
	"math"
	"time"
)

// firstExpiry is when a new key expires.
func (s *Keystore) firstExpiry(p KeyParams, now time.Time) (time.Time, error) {
	switch {
	case p.TTL < 0:
		return time.Time{}, invalid("ttl", "it is negative")
	case p.TTL > 0 && !p.ExpiresAt.IsZero():
		return time.Time{}, invalid("ttl", "expires_at is set too")
	case p.TTL > 0:
		return s.lifetime("ttl", now, p.TTL)
	case p.ExpiresAt.IsZero() && s.opts.DefaultTTL > 0:
		return s.lifetime("ttl", now, s.opts.DefaultTTL)
	}
	return s.expiry("expires_at", now, p.ExpiresAt)
}

// lifetime is the expiry a duration from now.
func (s *Keystore) lifetime(field string, now time.Time, ttl time.Duration) (time.Time, error) {
	at, err := after(field, now, ttl)
	if err != nil {
		return time.Time{}, err
	}
	return s.expiry(field, now, at)
}

// after is now + d, or an ErrInvalid where that leaves the years that the format
// can hold.
func after(field string, now time.Time, d time.Duration) (time.Time, error) {
	at := now.Add(d)
	if !inRange(at) || at.Before(now) {
		return time.Time{}, invalid(field, "it ends after the year 8888")
	}
	return millis(at), nil
}

// expiry checks a new expiry: in the future, and within MaxTTL. Zero is never.
func (s *Keystore) expiry(field string, now, at time.Time) (time.Time, error) {
	if at.IsZero() {
		if s.opts.MaxTTL > 0 {
			return at, invalid(field, "a key that never expires lives longer than MaxTTL, which is %v", s.opts.MaxTTL)
		}
		return time.Time{}, nil
	}
	if !inRange(at) {
		return at, invalid(field, "the year %d is outside 1970 to 8888", at.Year())
	}
	at = millis(at)
	if !at.After(now) {
		return at, invalid(field, "it is not at least a millisecond in the future")
	}
	if s.opts.MaxTTL > 0 && overlong(now, at, s.opts.MaxTTL) {
		return at, invalid(field, "it is further away than MaxTTL, which is %v", s.opts.MaxTTL)
	}
	return at, nil
}

// overlong reports whether at is more than max after now. A difference that a
// Duration cannot hold is more than any.
func overlong(now, at time.Time, max time.Duration) bool {
	d := at.Sub(now) // saturates
	return d > max || d == math.MaxInt64
}

// Expire sets when the key stops working; a time in the past means now. Setting
// a later time on a key that has expired revives it. Errors: ErrInvalid for a
// zero time or one that is too far away, ErrNotFound, ErrState for a revoked key,
// ErrConflict, ErrUnavailable, ErrUnknownOutcome, ErrCorrupt, ErrClosed.
func (s *Keystore) Expire(ctx context.Context, id string, at time.Time) (Key, error) {
	return s.expire(ctx, id, "", at)
}

func (s *Keystore) expire(ctx context.Context, id, owner string, at time.Time) (Key, error) {
	e := &Event{Action: ActionUpdate, KeyID: id}
	return s.manage(ctx, "expire", e, func(ctx context.Context) (Key, error) {
		if at.IsZero() {
			return Key{}, invalid("expires_at", "it is zero; ClearExpiry makes a key that does not expire")
		}
		return s.change(ctx, id, owner, changesExpiry(e, func(r *record, now time.Time) (retries, error) { return s.expireAt(r, at, now) }))
	})
}

// expireAt is the edit of Expire.
func (s *Keystore) expireAt(r *record, at, now time.Time) (retries, error) {
	if err := unrevoked(r); err != nil {
		return bounded, err
	}
	// Cut like the clock: a time within this millisecond is now, not later.
	cut := at
	if inRange(at) {
		cut = millis(at)
	}
	end := now
	if cut.After(now) {
		var err error
		if end, err = s.expiry("expires_at", now, at); err != nil {
			return bounded, err
		}
	} else if r.key.expired(now) {
		return bounded, errUnchanged // it ended before, and that stays
	}
	if end.Equal(r.key.ExpiresAt) {
		return bounded, errUnchanged
	}
	r.key.ExpiresAt = end
	return bounded, nil
}

// ClearExpiry makes the key one that does not expire, and revives it if it has
// expired. Errors are those of Expire; it is ErrInvalid where MaxTTL is set.
func (s *Keystore) ClearExpiry(ctx context.Context, id string) (Key, error) {
	return s.clearExpiry(ctx, id, "")
}

func (s *Keystore) clearExpiry(ctx context.Context, id, owner string) (Key, error) {
	e := &Event{Action: ActionUpdate, KeyID: id}
	return s.manage(ctx, "clear_expiry", e, func(ctx context.Context) (Key, error) {
		return s.change(ctx, id, owner, changesExpiry(e, s.neverExpire))
	})
}

// changesExpiry notes in e that the edit changed the expiry, if it did.
func changesExpiry(e *Event, edit edit) edit {
	return func(r *record, now time.Time) (retries, error) {
		again, err := edit(r, now)
		e.Detail = ""
		if err == nil {
			e.Detail = "expires_at"
		}
		return again, err
	}
}

// neverExpire is the edit of ClearExpiry.
func (s *Keystore) neverExpire(r *record, now time.Time) (retries, error) {
	if err := unrevoked(r); err != nil {
		return bounded, err
	}
	if r.key.ExpiresAt.IsZero() {
		return bounded, errUnchanged
	}
	if _, err := s.expiry("expires_at", now, time.Time{}); err != nil {
		return bounded, err
	}
	r.key.ExpiresAt = time.Time{}
	return bounded, nil
}
