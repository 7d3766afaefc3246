package keystore

import (
	"context"
	"strings"
	"time"

	"example.com/keystore/internal/sieve"
)

// ownerCache keeps the answers of Options.OwnerActive for CacheTTL. nil keeps
// nothing.
type ownerCache struct{ answers *sieve.Map[ownerAnswer] }

func newOwnerCache(size int) *ownerCache { return &ownerCache{sieve.New[ownerAnswer](size)} }

// ownerAnswer is as old as the moment before it was asked for. Both clocks must
// find it fresh: time.Now is monotonic, the keystore's own may be anything.
type ownerAnswer struct {
	active bool
	asked  time.Time // by time.Now
	clock  time.Time // by the keystore's clock
}

// ownerActive asks Options.OwnerActive, or remembers what it said.
func (s *Keystore) ownerActive(ctx context.Context, owner string) (bool, error) {
	if s.opts.OwnerActive == nil {
		return true, nil
	}
	answer := ownerAnswer{asked: time.Now(), clock: s.opts.Now()}
	if known, ok := s.owners.get(owner); ok && known.fresh(answer, s.opts.CacheTTL) {
		return known.active, nil
	}
	op := s.bound(ctx)
	defer op.end()
	var err error
	if answer.active, err = s.opts.OwnerActive(op, owner); err != nil {
		return false, err
	}
	s.owners.put(owner, answer)
	return answer.active, nil
}

func (a ownerAnswer) fresh(now ownerAnswer, ttl time.Duration) bool {
	age := now.clock.Sub(a.clock)
	return now.asked.Sub(a.asked) < ttl && 0 <= age && age < ttl
}

func (c *ownerCache) get(owner string) (ownerAnswer, bool) {
	if c == nil {
		return ownerAnswer{}, false
	}
	return c.answers.Get(owner)
}

// put keeps an answer. One that was asked for later stays.
func (c *ownerCache) put(owner string, a ownerAnswer) {
	if c == nil {
		return
	}
	if known, ok := c.answers.Get(owner); ok && known.asked.After(a.asked) {
		return
	}
	c.answers.Put(strings.Clone(owner), a) // the owner is a part of a record
}
