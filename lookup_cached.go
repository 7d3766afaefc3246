package keystore

import (
	"context"
	"crypto/sha256"
	"errors"
)

// lookupCached is what lookup does with a text of the right form, where there is a
// cache. Its checksum matters only if the text has not proved itself before, for a
// digest proves more.
func (s *Keystore) lookupCached(ctx context.Context, token, id string, a *ask, out *Result) error {
	c := s.cache
	e := c.kept(id)
	if e == nil && !checksumMatches(token) {
		return errMalformed
	}
	now, sum := s.moment(), sha256.Sum256(bytesOf(token))
	if e != nil {
		fresh := c.fresh(e, now.age)
		if i := e.provenBy(&sum); i >= 0 && fresh {
			c.counts.hit(id)
			return s.judge(ctx, &e.record, i, token, a, now.wall, &e.uses, out)
		}
		if !checksumMatches(token) {
			return errMalformed
		}
		if !fresh {
			e = nil
		}
	}
	f, err := s.find(ctx, token, id, sum, now, e)
	if err != nil {
		return err
	}
	err = s.judge(ctx, &f.e.record, f.secret, token, a, s.now(), &f.e.uses, out)
	if f.stale && err == nil {
		c.counts.stale.Add(1)
		out.Stale = true
	}
	return err
}

// finding is an entry that has a secret like the token, and which one it is.
type finding struct {
	e      *entry
	secret int
	stale  bool // e is past the bound, and the store fails
}

// find finds the secret that the token with this SHA-256 is. That there is one,
// the given entry may decide; that there is none, only one that was read after the
// lookup began, for another process may have rotated the key since.
func (s *Keystore) find(ctx context.Context, token, id string, sum [sha256.Size]byte, now moment, e *entry) (finding, error) {
	c := s.cache
	if e == nil {
		if last, i := c.lastResort(id, &sum, now.age); last != nil && !c.outage.mayAsk(now.age) {
			c.counts.hit(id)
			return finding{last, i, true}, nil
		}
	}
	var op *opContext
	defer func() {
		if op == nil {
			c.counts.hit(id)
			return
		}
		c.counts.misses.Add(1)
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
				if last, i := c.lastResort(id, &sum, now.age); last != nil && !errors.Is(ctx.Err(), context.Canceled) {
					return finding{last, i, true}, nil
				}
				return finding{}, s.loadFailed(ctx, token, id, err)
			}
		}
		switch {
		case e.damage != nil:
			return finding{}, &LookupError{Reason: ReasonCorrupt, KeyID: id, err: e.damage}
		case e.unknown && (since || now.age-e.read < unknownTTL):
			return finding{}, s.unknownKey(token, id)
		case e.unknown: // when another lookup began, long ago
			older, e = e, nil
			continue
		}
		if i := e.provenBy(&sum); i >= 0 {
			return finding{e: e, secret: i}, nil
		}
		if older == nil || !older.sameDigests(e) { // or a slow hash would be made again
			i, err := s.match(ctx, &e.record, token, s.now())
			if err == nil {
				c.proved(e, i, sum)
				return finding{e: e, secret: i}, nil
			}
			refused = err
		}
		if since || !mayBeOutdated(refused) {
			return finding{}, refused
		}
		older, e = e, nil
	}
}

// mayBeOutdated reports whether a newer record may have the secret after all.
func mayBeOutdated(refused error) bool {
	var why *LookupError
	return errors.As(refused, &why) && (why.Reason == ReasonWrongSecret || why.Reason == ReasonUnknownHash)
}
