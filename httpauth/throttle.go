package httpauth

import (
	"container/heap"
	"math"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// throttle counts the failed attempts of client addresses, in a table of bounded
// size. It holds only addresses that have spent some of their budget.
//
// When the table is full, a new address takes over the entry that spent least,
// with what was spent of it (the Space-Saving algorithm of Metwally, Agrawal and
// El Abbadi, 2005). So no address ever gets more attempts than its budget, however
// many others fill the table; one that is not in it is judged by that entry.
type throttle struct {
	limit rate.Limit
	burst int
	max   int

	mu      sync.Mutex
	clients map[netip.Addr]*client
	order   byFull
}

// client is the budget of one address.
type client struct {
	addr   netip.Addr
	budget *rate.Limiter
	fullAt time.Time // when nothing of it will be spent any more
	place  int       // in the heap
	told   bool      // that it is spent, since it was full
}

// newThrottle returns nil where nobody is to be throttled; its methods work on
// that.
func newThrottle(o *Options) *throttle {
	if o.FailuresPerSecond < 0 {
		return nil
	}
	return &throttle{
		limit:   rate.Limit(o.FailuresPerSecond),
		burst:   o.FailureBurst,
		max:     o.MaxClients,
		clients: make(map[netip.Addr]*client),
	}
}

// wait returns how long it takes until an address may try again, 0 if it may now.
func (t *throttle) wait(addr netip.Addr) time.Duration {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[addr]
	if c == nil {
		if len(t.order) < t.max {
			return 0
		}
		c = t.order[0]
	}
	return t.until(c, 1, time.Now())
}

// spend notes a failed attempt of an address, and reports whether its budget is spent
// for the first time since it was last whole; who takes over a spent one is not
// reported again, or a flood from many addresses would fill the log. Attempts that
// were under way at the same time may spend more than there is, which later ones
// must wait for.
func (t *throttle) spend(addr netip.Addr) (blocked bool) {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now() // under the lock: a limiter whose time goes back gives too much
	for len(t.order) > 0 && !t.order[0].fullAt.After(now) {
		delete(t.clients, heap.Pop(&t.order).(*client).addr)
	}
	c := t.clients[addr]
	switch {
	case c != nil:
	case len(t.order) < t.max:
		c = &client{addr: addr, budget: rate.NewLimiter(t.limit, t.burst), fullAt: now}
		t.clients[addr] = c
		heap.Push(&t.order, c)
	default:
		c = t.order[0]
		delete(t.clients, c.addr)
		c.addr = addr
		t.clients[addr] = c
	}
	c.budget.ReserveN(now, 1)
	c.fullAt = now.Add(t.until(c, float64(t.burst), now))
	heap.Fix(&t.order, c.place)
	blocked = !c.told && t.until(c, 1, now) > 0
	c.told = c.told || blocked
	return blocked
}

// until is how long it takes until a budget holds so many attempts. A billionth of
// one is less than floating point can tell.
func (t *throttle) until(c *client, attempts float64, now time.Time) time.Duration {
	lacking := attempts - c.budget.TokensAt(now)
	if lacking < 1e-9 {
		return 0
	}
	return time.Duration(min(lacking/float64(t.limit)*float64(time.Second), math.MaxInt64/2))
}

// byFull is a heap of clients; the first is the one that spent least.
type byFull []*client

func (h byFull) Len() int           { return len(h) }
func (h byFull) Less(i, j int) bool { return h[i].fullAt.Before(h[j].fullAt) }
func (h byFull) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byFull) Push(c any) {
	c.(*client).place = len(*h)
	*h = append(*h, c.(*client))
}

func (h *byFull) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
