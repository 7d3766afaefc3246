package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/keystore/backend"
)

// LookupParams are the arguments of LookupWith.
type LookupParams struct {
	Scopes []string // all of them must be covered
	Cost   int64    // that is spent of the key's limits: 1 to MaxCost; 0 means 1
}

// Result is what LookupWith found.
type Result struct {
	Key        Key
	Generation int       // of the secret presented; less than Key.Generation during a grace period
	ValidUntil time.Time // when this secret stops working: the key's expiry, or the end of its grace period; zero: never
	Stale      bool      // accepted past the bound on staleness, while the store fails: Options.StaleIfUnavailable

	Limits          []LimitState // how the key's limits stand after this lookup, by name; nil: it has none
	LimitsUnchecked bool         // it has limits, which could not be counted while the store fails: LimitsOpen
}

// These two are shared, so that refusing a text that is no token of ours costs
// no allocation.
var (
	errMalformed     = &LookupError{Reason: ReasonMalformed, err: ErrUnauthenticated}
	errUnknownPrefix = &LookupError{Reason: ReasonUnknownPrefix, err: ErrUnauthenticated}
)

// Lookup returns the key that the token proves, if it is active and covers all
// of the required scopes. The Key is zero on any error, and every error is a
// *LookupError:
//
//   - ErrUnauthenticated: malformed, unknown or wrong, all in the same words. A
//     text that is no token of this keystore costs no backend call, and no hash
//     but a SHA-256 where all but its checksum looks like a key in the cache.
//   - ErrExpired, ErrRevoked, ErrDisabled, ErrOwnerInactive: they wrap
//     ErrUnauthenticated and come only after the secret matched.
//   - ErrMissingScope: the key is good for less than was asked.
//   - ErrRateLimited: a limit of the key is spent. Nothing is spent of the others.
//   - ErrInvalid: a required scope is malformed, or one of the key's limits is
//     less than the cost: a fault of the program.
//   - ErrUnavailable, ErrCorrupt, ErrClosed: nothing is known of the key. An
//     outage is never ErrUnauthenticated.
//
// A successful lookup notes the time of last use; a failed one notes nothing. Of a
// key with limits it spends one request of each, by a call of the store, also where
// the key is in the cache. While the store fails, Options.LimitFailure decides; a
// lookup that ends in ErrUnavailable then may have been counted all the same.
func (s *Keystore) Lookup(ctx context.Context, token string, scopes ...string) (Key, error) {
	var r Result
	err := s.lookup(ctx, "lookup", token, &ask{scopes: scopes}, &r)
	return r.Key, err
}

// LookupWith is Lookup with parameters and a fuller result.
func (s *Keystore) LookupWith(ctx context.Context, token string, p LookupParams) (r Result, err error) {
	err = s.lookup(ctx, "lookup", token, &ask{scopes: p.Scopes, cost: p.Cost}, &r)
	return r, err
}

// Peek answers what LookupWith would, and leaves no trace: it spends nothing of
// the key's limits, does not count as use and is not audited. Another lookup may
// spend what Peek still saw.
func (s *Keystore) Peek(ctx context.Context, token string, p LookupParams) (r Result, err error) {
	err = s.lookup(ctx, "peek", token, &ask{scopes: p.Scopes, cost: p.Cost, peek: true}, &r)
	return r, err
}

// lookup writes what it found to out, and on any error nothing. It tells the
// observer and the audit of it.
func (s *Keystore) lookup(ctx context.Context, name, token string, a *ask, out *Result) (err error) {
	if s.opts.Observer == nil && s.trail == nil {
		return s.authenticate(ctx, token, a, out)
	}
	id := ""
	if s.opts.Observer != nil {
		if _, parsed, ok := splitToken(token); ok {
			id = parsed
		}
	}
	ctx, end := s.begin(ctx, name, id)
	err = ErrPanicked
	defer func() { end(err) }()
	err = s.authenticate(ctx, token, a, out)
	if refused, ok := errors.AsType[*LookupError](err); ok && !a.peek { // without an allocation
		s.trail.refused(ctx, refused)
	}
	return err
}

func (s *Keystore) authenticate(ctx context.Context, token string, a *ask, out *Result) error {
	if s.closed.Load() {
		return &LookupError{Reason: ReasonClosed, err: ErrClosed}
	}
	if err := checkRequired(a.scopes); err != nil {
		return &LookupError{Reason: ReasonInvalidScope, err: err}
	}
	if err := checkCost(a.cost); err != nil {
		return &LookupError{Reason: ReasonInvalidCost, err: err}
	}
	prefix, id, ok := splitToken(token)
	switch {
	case !ok:
		return errMalformed
	case !s.accepts(prefix):
		return errUnknownPrefix
	case s.cache != nil:
		return s.lookupCached(ctx, token, id, a, out)
	case !checksumMatches(token):
		return errMalformed
	}
	stored, err := s.load(ctx, id)
	if err != nil {
		return s.loadFailed(ctx, token, id, err)
	}
	var r record
	if err := r.open(&stored, id); err != nil {
		return &LookupError{Reason: ReasonCorrupt, KeyID: id, err: err}
	}
	now := s.now()
	i, err := s.match(ctx, &r, token, now)
	if err != nil {
		return err
	}
	return s.judge(ctx, &r, i, token, a, now, nil, out)
}

// useRefs are where the entry of a cache notes that its key is used.
type useRefs struct {
	noted   noteRef
	counted usageRef
}

// judge decides on a token that is secret i of the record. refs may be nil.
func (s *Keystore) judge(ctx context.Context, r *record, i int, token string, a *ask, now time.Time, refs *useRefs, out *Result) error {
	matched, k := &r.secrets[i], &r.key
	if err := s.usable(ctx, k, matched, now); err != nil {
		return err
	}
	if err := k.Scopes.check(a.scopes); err != nil {
		s.counted(k, now, countMissingScope, a, refs)
		return &LookupError{Reason: ReasonMissingScope, KeyID: k.ID, Owner: k.Owner, err: err}
	}
	if limited(k) {
		if err := s.spend(ctx, k, a, now, out); err != nil {
			if err.Reason == ReasonRateLimited {
				s.counted(k, now, countLimited, a, refs)
			}
			return err
		}
	}
	if !a.peek {
		s.counted(k, now, countAllowed, a, refs)
		s.noteUse(k.ID, now, refs)
		s.offerRehash(k.ID, matched, token)
	}
	r.viewTo(&out.Key, now)
	out.Generation, out.ValidUntil = matched.generation, r.key.ExpiresAt
	if !matched.until.IsZero() && (out.ValidUntil.IsZero() || matched.until.Before(out.ValidUntil)) {
		out.ValidUntil = matched.until
	}
	return nil
}

// loadFailed tells an unknown id from a failure of the store.
func (s *Keystore) loadFailed(ctx context.Context, token, id string, err error) error {
	if errors.Is(err, backend.ErrNotFound) {
		return s.unknownKey(token, id)
	}
	err = s.unavailable(ctx, "key "+id, err)
	if errors.Is(err, ErrClosed) {
		return &LookupError{Reason: ReasonClosed, KeyID: id, err: err}
	}
	return &LookupError{Reason: ReasonUnavailable, KeyID: id, err: err}
}

// unknownKey refuses a token whose id has no record. A hash is compared all the
// same; but what the backend takes to find nothing, and the cache, which makes a
// wrong secret wait for a new read, may still tell by the time that an id exists.
// Ids are public.
func (s *Keystore) unknownKey(token, id string) error {
	s.dummy.Verify(token, Digest{scheme: s.dummy.Scheme(), kid: s.dummy.KeyID(), sum: dummySum})
	return &LookupError{Reason: ReasonUnknownKey, KeyID: id, err: ErrUnauthenticated}
}

// dummySum is as long as a SHA-256 and no token's.
const dummySum = "no token has this as its digest!"

// match finds which secret the token is, live or superseded. If there is none, but a live digest could not be checked for want of its scheme or pepper,
// the token may be good: that is ErrUnavailable.
func (s *Keystore) match(ctx context.Context, r *record, token string, now time.Time) (int, error) {
	id := r.key.ID
	unchecked := ""
	for i := range r.secrets {
		sec := &r.secrets[i]
		h := s.hasher(sec.digest)
		if h == nil {
			if sec.live(now) {
				unchecked = fmt.Sprintf("no hasher for scheme %q, key id %q is configured", sec.digest.scheme, sec.digest.kid)
			}
			continue
		}
		same, err := verifyWith(ctx, h, token, sec.digest)
		if err != nil {
			return -1, &LookupError{Reason: ReasonUnavailable, KeyID: id, err: s.unavailable(ctx, "key "+id, err)}
		}
		if same {
			return i, nil
		}
	}
	if unchecked != "" {
		return -1, &LookupError{Reason: ReasonUnknownHash, KeyID: id, err: s.unavailable(ctx, "key "+id, errors.New(unchecked))}
	}
	return -1, &LookupError{Reason: ReasonWrongSecret, KeyID: id, err: ErrUnauthenticated}
}

// usable judges the state of a key whose secret matched.
func (s *Keystore) usable(ctx context.Context, k *Key, matched *secret, now time.Time) error {
	refuse := func(reason Reason, err error) error {
		return &LookupError{Reason: reason, KeyID: k.ID, Owner: k.Owner, err: err}
	}
	switch k.state(now) {
	case Revoked:
		return refuse(ReasonRevoked, ErrRevoked)
	case Disabled:
		return refuse(ReasonDisabled, ErrDisabled)
	}
	switch {
	case !matched.live(now):
		return refuse(ReasonSuperseded, ErrExpired)
	case k.expired(now):
		return refuse(ReasonExpired, ErrExpired)
	}
	active, err := s.ownerActive(ctx, k.Owner)
	switch {
	case err != nil:
		return refuse(ReasonOwnerCheck, s.unavailable(ctx, "owner of key "+k.ID, err))
	case !active:
		return refuse(ReasonOwnerInactive, ErrOwnerInactive)
	}
	return nil
}
