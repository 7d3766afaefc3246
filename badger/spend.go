package badger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

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
	leading bool // lead runs
}

// spending is a spend on its way.
type spending struct {
	id      string
	spendID uint64
	cost    int64
	windows []window
	max     []int64 // of the windows

	done  chan struct{} // closed when the following are set
	spent backend.Spent
	err   error
}

// add appends a spend to the queue. It reports whether lead must be started.
func (q *spends) add(s *spending) (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, s)
	start = !q.leading
	q.leading = true
	return start
}

// take removes up to limit spends from the queue. If there is none lead must end.
func (q *spends) take(limit int) []*spending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.waiting))
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.leading = n > 0
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
	own := &spending{
		id: s.ID, spendID: s.SpendID, cost: s.Cost,
		windows: make([]window, len(s.Windows)), max: make([]int64, len(s.Windows)),
		done: make(chan struct{}),
	}
	for i, w := range s.Windows {
		stored, err := windowOf(w)
		if err != nil {
			return nil, err
		}
		if w.Max < 1 || w.Max > backend.MaxCount {
			return nil, errors.New("badger: the most that may be spent in a window is not 1 to backend.MaxCount")
		}
		if slices.ContainsFunc(own.windows[:i], stored.ofLimit) {
			return nil, errors.New("badger: two windows of a spend have the same name and length")
		}
		own.windows[i], own.max[i] = stored, w.Max
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
	if b.spends.add(own) {
		go b.lead()
	}
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

// lead makes the transactions of the queue until it is empty.
func (b *Backend) lead() {
	for {
		batch := b.spends.take(chunkLen)
		if len(batch) == 0 {
			return
		}
		slices.SortStableFunc(batch, func(x, y *spending) int { return cmp.Compare(x.id, y.id) })
		b.spendTogether(batch)
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
	return b.commit(ctx, fullReserve, func(txn *badgerdb.Txn) (effect, error) {
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
		s.spent.Counts[i] = c.of(w)
	}
	if c.has(s.spendID) {
		return false
	}
	for i, count := range s.spent.Counts {
		if s.cost > s.max[i]-count { // neither side can overflow
			s.spent.OK = false
			return false
		}
	}
	for i := range s.spent.Counts {
		s.spent.Counts[i] += s.cost
	}
	c.add(s.spendID, s.cost, s.windows)
	return true
}
