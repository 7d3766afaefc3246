package keystore

import (
	"context"
	"crypto/sha256"
	"errors"
)

// lookupCached is what lookup does with a text of the right form, where there is a
// cache. Its checksum matters only if the text has not proved itself before, for a
// digest proves more.
func (s *Keystore) lookupCached(ctx context.Context, token, id string, scopes []string) (Result, error) {
	c, now := s.cache, s.moment()
	sum := sha256.Sum256(bytesOf(token))
	e := c.get(id, now.age)
	if e != nil {
		if i := e.provenBy(&sum); i >= 0 {
			c.counts.hit(id)
			return s.judge(ctx, &e.record, i, token, scopes, now.wall, &e.noted)
		}
	}
	if !checksumMatches(token) {
		return Result{}, errMalformed
	}
	if last, i := c.lastResort(id, &sum, now.age); last != nil && e == nil && !c.outage.mayAsk(now.age) {
		return s.judgeStale(ctx, last, i, token, scopes)
	}
	e, i, err := s.find(ctx, token, id, sum, now, e)
	if err == nil {
		return s.judge(ctx, &e.record, i, token, scopes, s.now(), &e.noted)
	}
	// Not the one from before: it may have been dropped meanwhile.
	if last, i := c.lastResort(id, &sum, now.age); last != nil && storeFailed(ctx, err) {
		return s.judgeStale(ctx, last, i, token, scopes)
	}
	return Result{}, err
}

// find returns an entry that has a secret like the token with this SHA-256, and
// which one it is. That there is one, the given entry may decide; that there is
// none, only one that was read after the lookup began, for another process may
// have rotated the key since.
func (s *Keystore) find(ctx context.Context, token, id string, sum [sha256.Size]byte, now moment, e *entry) (*entry, int, error) {
	var op *opContext
	defer func() {
		if op == nil {
			s.cache.counts.hit(id)
			return
		}
		s.cache.counts.misses.Add(1)
		op.end()
	}()
	var older *entry  // looked at already
	var refused error // what it said
	since := false    // e was read since the lookup began
	for {
		if e == nil {
			if op == nil {
				op = s.bound(ctx)
			}
			var err error
			if e, since, err = s.obtain(ctx, op, id, now.age, older); err != nil {
				return nil, -1, s.loadFailed(ctx, token, id, err)
			}
		}
		switch {
		case e.unknown:
			return nil, -1, s.unknownKey(token, id)
		case e.damage != nil:
			return nil, -1, &LookupError{Reason: ReasonCorrupt, KeyID: id, err: e.damage}
		}
		if i := e.provenBy(&sum); i >= 0 {
			return e, i, nil
		}
		if older == nil || !older.sameDigests(e) { // or a slow hash would be made again
			i, err := s.match(ctx, &e.record, token, s.now())
			if err == nil {
				s.cache.proved(e, i, sum)
				return e, i, nil
			}
			refused = err
		}
		if since || !mayBeOutdated(refused) {
			return nil, -1, refused
		}
		older, e = e, nil
	}
}

// mayBeOutdated reports whether a newer record may have the secret after all.
func mayBeOutdated(refused error) bool {
	var why *LookupError
	return errors.As(refused, &why) && (why.Reason == ReasonWrongSecret || why.Reason == ReasonUnknownHash)
}

// storeFailed reports whether a lookup failed for want of the store, and not
// because the caller wants its answer no more.
func storeFailed(ctx context.Context, err error) bool {
	var why *LookupError
	return errors.As(err, &why) && why.Reason == ReasonUnavailable && !errors.Is(ctx.Err(), context.Canceled)
}

// judgeStale decides by an entry that is past the bound, while the store fails.
func (s *Keystore) judgeStale(ctx context.Context, e *entry, i int, token string, scopes []string) (Result, error) {
	r, err := s.judge(ctx, &e.record, i, token, scopes, s.now(), &e.noted)
	if err == nil {
		s.cache.counts.stale.Add(1)
		r.Stale = true
	}
	return r, err
}
