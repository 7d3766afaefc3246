package badger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
)

// spends is the queue of the spends that wait for a transaction. Those that come
// while one is being committed share the next: a transaction, above all one that
// is synced, costs many times what a spend does. The queue is for speed only: it is
// the locks of the ids that keep counts right, also between the queues of handles.
type spends struct {
	mu      sync.Mutex
	waiting []*spending
	taken   int // how many are being made, by the goroutine that took some last

	start sync.Once
	wake  chan struct{} // filled after something was added
	stop  chan struct{} // closed when no call is left

	checked atomic.Int64 // when there was room last, in Unix nanoseconds
}

// roomHolds is how long spends go without looking for room again, which takes as long
// as a fifth of a spend. Nobody fills the reserve so quickly.
const roomHolds = time.Millisecond

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

// startLeads starts what makes the transactions. Where each waits for the disk there is
// one, so that as many spends as can be wait together; else two, since most of the time
// goes into reading the counts.
func (b *Backend) startLeads() {
	b.background.Go(b.lead)
	if !b.db.Opts().SyncWrites {
		b.background.Go(b.lead)
	}
}

// lead makes transactions of the queue. It is a goroutine for all of them, because a
// new one would have to grow its stack each time.
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
		b.finish(s, err) // an error also for those that were refused in view of others, which then were not made
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
	now := time.Now().UnixNano()
	if ago := now - b.spends.checked.Load(); ago < 0 || ago > int64(roomHolds) { // the clock may have been set back
		if err := b.space.check(fullReserve); err != nil {
			return refused(err)
		}
		b.spends.checked.Store(now)
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
