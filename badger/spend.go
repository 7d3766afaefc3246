package badger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// spends is the queue of the spends that wait for a transaction. Those that come
// while one is being committed share the next: a transaction, above all one that
// is synced, costs many times what a spend does. The queue is for speed only: it is
// the locks of the ids that keep counts right, also between the queues of handles.
type spends struct {
	mu      sync.Mutex
	waiting []*spending
	taken   int // how many are being made

	start sync.Once
	wake  chan struct{} // filled after something was added
	stop  chan struct{} // closed when no call is left

	checked time.Time // when there was room last
}

// roomHolds is how long spends go without looking for room again, which takes as long
// as a fifth of a spend. Nobody fills the reserve so quickly.
const roomHolds = time.Millisecond

// spending is a spend on its way.
type spending struct {
	id      string
	spendID uint64
	cost    int64
	windows []limited

	done  chan struct{} // closed when the following are set
	spent backend.Spent
	err   error
}

// limited is a window, and the most that may be spent in it.
type limited struct {
	window
	max int64
}

// add appends a spend.
func (q *spends) add(s *spending) {
	q.mu.Lock()
	q.waiting = append(q.waiting, s)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it is full, and what is waiting will be looked at
	}
}

// take appends the first spends to batch, which has room for them, and removes them.
func (q *spends) take(batch []*spending) []*spending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(cap(batch)-len(batch), len(q.waiting))
	batch = append(batch, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.taken = len(batch)
	return batch
}

// withdraw takes a spend back, if it still waits.
func (q *spends) withdraw(s *spending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.waiting, s)
	if at < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	return true
}

// newSpending refuses what the contract excludes. Nothing in it is the caller's.
func newSpending(s backend.Spend) (*spending, error) {
	switch {
	case !validID(s.ID):
		return nil, errInvalidID
	case s.Cost < 1 || s.Cost > backend.MaxCount:
		return nil, errors.New("badger: the cost of a spend is not 1 to backend.MaxCount")
	case len(s.Windows) == 0 || len(s.Windows) > backend.MaxWindows:
		return nil, errors.New("badger: a spend is of 1 to backend.MaxWindows windows")
	}
	own := &spending{id: s.ID, spendID: s.SpendID, cost: s.Cost, windows: make([]limited, len(s.Windows)), done: make(chan struct{})}
	for i, w := range s.Windows {
		stored, err := windowOf(w)
		if err != nil {
			return nil, err
		}
		if w.Max < 1 || w.Max > backend.MaxCount {
			return nil, errors.New("badger: the most that may be spent in a window is not 1 to backend.MaxCount")
		}
		for _, other := range own.windows[:i] {
			if other.ofLimit(stored) {
				return nil, errors.New("badger: two windows of a spend have the same name and length")
			}
		}
		own.windows[i] = limited{stored, w.Max}
	}
	return own, nil
}

// Spend implements [backend.Counter]. Spends that wait together share a
// transaction. It refuses what the contract excludes.
func (b *Backend) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	own, err := newSpending(s)
	if err != nil {
		return backend.Spent{}, refused(err)
	}
	if err := b.enter(ctx); err != nil {
		return backend.Spent{}, refused(err)
	}
	b.spends.start.Do(func() { b.background.Go(b.lead) })
	b.spends.add(own)
	select {
	case <-own.done:
		return own.spent, own.err
	case <-ctx.Done():
	}
	if b.spends.withdraw(own) {
		b.calls.RUnlock()
		return backend.Spent{}, refused(contextError(ctx))
	}
	select {
	case <-own.done: // both at once: the better answer
		return own.spent, own.err
	default:
		return backend.Spent{}, unknownOutcome(ctx)
	}
}

// lead makes the transactions of the queue. It is one goroutine for all of them,
// because a new one would have to grow its stack each time.
func (b *Backend) lead() {
	batch := make([]*spending, 0, chunkLen)
	for {
		select {
		case <-b.spends.wake:
		case <-b.spends.stop:
			return
		}
		for {
			if batch = b.spends.take(batch[:0]); len(batch) == 0 {
				break
			}
			slices.SortStableFunc(batch, func(x, y *spending) int { return cmp.Compare(x.id, y.id) })
			b.spendTogether(batch)
			clear(batch) // so that nothing of them is kept
		}
	}
}

// spendTogether makes the spends of a batch, which is sorted by id, in one
// transaction, or in several if one does not hold them, and answers them.
func (b *Backend) spendTogether(batch []*spending) {
	err := b.commitSpends(batch)
	if errors.Is(err, badgerdb.ErrTxnTooBig) && len(batch) > 1 {
		half := len(batch) / 2
		b.spendTogether(batch[:half])
		b.spendTogether(batch[half:])
		return
	}
	for _, s := range batch {
		if err != nil { // also for those that were refused in view of others, which then were not made
			s.spent, s.err = backend.Spent{}, err
		}
		close(s.done)
		b.calls.RUnlock()
	}
}

func (b *Backend) commitSpends(batch []*spending) error {
	ids := make([]string, len(batch))
	for i, s := range batch {
		ids[i] = s.id
	}
	// The callers may give up, the batch does not.
	ctx := context.Background()
	unlock, err := b.shared.lock(ctx, b.closing, ids...)
	if err != nil {
		return refused(err)
	}
	defer unlock()
	if time.Since(b.spends.checked) > roomHolds {
		if err := b.space.check(fullReserve); err != nil {
			return refused(err)
		}
		b.spends.checked = time.Now()
	}
	return b.commit(ctx, func(txn *badgerdb.Txn) (effect, error) {
		var all effect
		for rest := batch; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].id == rest[0].id {
				n++
			}
			made, err := b.spendOf(txn, rest[:n])
			if err != nil {
				return effect{}, err
			}
			all.add(made)
			rest = rest[n:]
		}
		return all, nil
	})
}

// spendOf makes the spends of one id. Counts that are damaged are the error of its
// spends alone.
func (b *Backend) spendOf(txn *badgerdb.Txn, batch []*spending) (effect, error) {
	id := batch[0].id
	c, err := b.loadCounts(txn, id)
	if unreadable(err) {
		for _, s := range batch {
			s.spent, s.err = backend.Spent{}, refused(err)
		}
		return effect{}, nil
	}
	if err != nil {
		return effect{}, err
	}
	changed := false
	for _, s := range batch {
		changed = c.spend(s) || changed
	}
	if !changed {
		return effect{}, nil
	}
	return b.putCounts(txn, id, c)
}

// spend answers s, and reports whether it changed the counts.
func (c *counts) spend(s *spending) bool {
	s.spent, s.err = backend.Spent{OK: true, Counts: make([]int64, len(s.windows))}, nil
	for i, w := range s.windows {
		s.spent.Counts[i] = c.of(w.window)
	}
	if c.has(s.spendID) {
		return false
	}
	for i, count := range s.spent.Counts {
		if s.cost > s.windows[i].max-count { // neither side can overflow
			s.spent.OK = false
			return false
		}
	}
	spentIn := make([]counted, 0, len(s.windows)+len(c.windows))
	for i, w := range s.windows {
		s.spent.Counts[i] += s.cost
		spentIn = append(spentIn, counted{w.window, s.spent.Counts[i]})
	}
	c.add(s.spendID, spentIn)
	return true
}
