package keystore

import (
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// askAgain is how often a store that failed is asked while StaleIfUnavailable
// lets lookups do without it.
const askAgain = time.Second

// outage remembers that the store failed, so that not every lookup waits for it to
// fail again.
type outage struct{ next atomic.Int64 } // age of the cache at which to ask again; 0: the store answers

// note is told how a read ended.
func (o *outage) note(err error, c *cache) {
	switch {
	case c.stale == 0, errors.Is(err, backend.ErrClosed):
	case err != nil:
		o.next.Store(int64(c.age() + askAgain))
	case o.next.Load() != 0:
		o.next.Store(0)
	}
}

// mayAsk reports whether a lookup that could do without the store should ask it
// all the same: where it answers, and once in a while to see whether it does again.
func (o *outage) mayAsk(age time.Duration) bool {
	next := o.next.Load()
	if next == 0 {
		return true
	}
	return int64(age) >= next && o.next.CompareAndSwap(next, int64(age+askAgain))
}

// lastResort returns the entry that may decide a lookup while the store fails, and
// which secret of it the token is; nil if there is none.
func (c *cache) lastResort(id string, sum *[sha256.Size]byte, began time.Duration) (*entry, int) {
	if c.stale == 0 {
		return nil, -1
	}
	e, ok := c.proven.Get(id)
	if !ok || began-e.read >= c.ttl+c.stale {
		return nil, -1
	}
	i := e.provenBy(sum)
	if i < 0 {
		return nil, -1
	}
	return e, i
}
