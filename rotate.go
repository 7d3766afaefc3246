package keystore

import (
	"context"
	"errors"
	"time"
)

// RotateParams are the optional arguments of Rotate; nil means none.
type RotateParams struct {
	ExpiresAt  time.Time // of the key from now on; zero: unchanged
	IfRevision uint64    // rotate only if Key.Revision is this; zero: whatever it is
}

// Rotate gives the key a new secret and returns its token. The secret it
// replaces is accepted for the grace period more, but not past the expiry that
// the key has or gets; the deadline of a secret that was replaced earlier is
// lowered likewise, and none is ever moved later. With grace 0 only the new
// secret works. The id, scopes and everything else of the key stay.
//
// Errors: ErrInvalid for a negative or overlong grace or expiry; ErrNotFound;
// ErrState for a revoked or expired key, and where a sixth secret would be
// accepted at one time (EndGrace makes room); ErrConflict if IfRevision does not
// match, or after 16 tries; ErrUnavailable; ErrUnknownOutcome, and then the token
// and key are returned too, because the token may be live; ErrCorrupt; ErrClosed.
func (s *Keystore) Rotate(ctx context.Context, id string, grace time.Duration, p *RotateParams) (Token, Key, error) {
	return s.rotate(ctx, id, "", grace, p)
}

func (s *Keystore) rotate(ctx context.Context, id, owner string, grace time.Duration, p *RotateParams) (Token, Key, error) {
	var token Token
	key, err := s.manage(ctx, "rotate", &Event{Action: ActionRotate, KeyID: id}, func(ctx context.Context) (key Key, err error) {
		token, key, err = s.newSecret(ctx, id, owner, grace, p)
		return key, err
	})
	return token, key, err
}

func (s *Keystore) newSecret(ctx context.Context, id, owner string, grace time.Duration, p *RotateParams) (Token, Key, error) {
	if grace < 0 {
		return Token{}, Key{}, invalid("grace", "it is negative")
	}
	if p == nil {
		p = &RotateParams{}
	}
	var token Token
	var digest Digest
	issued := "" // the prefix of token
	key, err := s.change(ctx, id, owner, func(r *record, now time.Time) (retries, error) {
		if err := s.rotatable(r, p, now); err != nil {
			return bounded, err
		}
		deadline, err := s.graceEnd(r, grace, p, now)
		if err != nil {
			return bounded, err
		}
		// A key keeps its prefix as long as the new token would be accepted.
		prefix := r.key.Prefix
		if !s.accepts(prefix) {
			prefix = s.opts.Prefix
		}
		if prefix != issued { // a second try takes the same token, unless the prefix has changed
			if token, err = newToken(prefix, id); err != nil {
				return bounded, err
			}
			if digest, err = s.digest(ctx, token.Reveal()); err != nil {
				return bounded, err
			}
			issued = prefix
		}
		r.key.Prefix = prefix
		return bounded, r.replaceSecret(digest, deadline, now)
	})
	if err != nil && !errors.Is(err, ErrUnknownOutcome) {
		return Token{}, Key{}, err
	}
	return token, key, err
}

// rotatable checks that the state of the key and its revision allow a rotation.
func (s *Keystore) rotatable(r *record, p *RotateParams, now time.Time) error {
	if err := unrevoked(r); err != nil {
		return err
	}
	if r.key.expired(now) {
		return stateError(r.key.ID, "it has expired; a later expiry revives it")
	}
	if p.IfRevision != 0 && p.IfRevision != r.key.revision {
		return keyError(r.key.ID, ErrConflict)
	}
	return nil
}

// graceEnd sets the new expiry, if there is one, and returns when the older
// secrets stop working. A later expiry does not extend their time.
func (s *Keystore) graceEnd(r *record, grace time.Duration, p *RotateParams, now time.Time) (time.Time, error) {
	end, err := after("grace", now, grace)
	if err != nil {
		return end, err
	}
	if !r.key.ExpiresAt.IsZero() {
		end = earlier(end, r.key.ExpiresAt)
	}
	if !p.ExpiresAt.IsZero() {
		if r.key.ExpiresAt, err = s.expiry("expires_at", now, p.ExpiresAt); err != nil {
			return end, err
		}
		end = earlier(end, r.key.ExpiresAt)
	}
	return end, nil
}

// replaceSecret puts a new current secret in front; the others are accepted
// until the deadline or their own earlier one.
func (r *record) replaceSecret(d Digest, deadline, now time.Time) error {
	if !deadline.After(now) {
		deadline = firstTime // ended by every clock, also by one that is behind
	}
	next := secret{digest: d, generation: r.secrets[0].generation + 1}
	secrets := append([]secret{next}, r.secrets...)
	live := 1
	for i := range secrets[1:] {
		old := &secrets[i+1]
		if old.until.IsZero() || old.until.After(deadline) {
			old.until = deadline
		}
		if old.live(now) {
			live++
		}
	}
	if live > maxLiveSecrets {
		return stateError(r.key.ID, "5 of its secrets are accepted at this time; EndGrace ends all but the current one")
	}
	r.secrets = secrets
	return nil
}

// EndGrace ends the grace period: from now on only the current secret works.
// Errors: ErrNotFound, ErrState for a revoked or expired key, ErrConflict,
// ErrUnavailable, ErrUnknownOutcome, ErrCorrupt, ErrClosed.
func (s *Keystore) EndGrace(ctx context.Context, id string) (Key, error) {
	return s.endGrace(ctx, id, "")
}

func (s *Keystore) endGrace(ctx context.Context, id, owner string) (Key, error) {
	return s.manage(ctx, "end_grace", &Event{Action: ActionEndGrace, KeyID: id}, func(ctx context.Context) (Key, error) {
		return s.change(ctx, id, owner, endGrace)
	})
}

// endGrace is the edit that ends every secret but the current one.
func endGrace(r *record, now time.Time) (retries, error) {
	if err := unrevoked(r); err != nil {
		return bounded, err
	}
	if r.key.expired(now) {
		return bounded, stateError(r.key.ID, "it has expired, and all its secrets with it")
	}
	changed := false
	for i := range r.secrets[1:] {
		if old := &r.secrets[i+1]; old.live(now) {
			old.until, changed = firstTime, true // by every clock
		}
	}
	if !changed {
		return untilDeadline, errUnchanged
	}
	return untilDeadline, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
