package keystore

import (
	"context"
	"sync"
	"time"
)

// ownerCache keeps the answers of Options.OwnerActive for CacheTTL.
type ownerCache struct {
	mu      sync.Mutex
	answers map[string]ownerAnswer
}

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
	s.owners.put(owner, answer, s.opts.CacheSize)
	return answer.active, nil
}

func (a ownerAnswer) fresh(now ownerAnswer, ttl time.Duration) bool {
	age := now.clock.Sub(a.clock)
	return now.asked.Sub(a.asked) < ttl && 0 <= age && age < ttl
}

func (c *ownerCache) get(owner string) (ownerAnswer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[owner]
	return a, ok
}

// put keeps an answer, in place of any other one if there are max already. An
// answer that was asked for later stays.
func (c *ownerCache) put(owner string, a ownerAnswer, max int) {
	if max < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.answers[owner]
	if known && old.asked.After(a.asked) {
		return
	}
	if !known && len(c.answers) >= max {
		for other := range c.answers {
			delete(c.answers, other)
			break
		}
	}
	if c.answers == nil {
		c.answers = make(map[string]ownerAnswer)
	}
	c.answers[owner] = a
}
