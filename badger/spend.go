package badger

import (
	"context"
	"errors"
	"sync"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// spending is a spend on its way.
type spending struct {
	id      string
	spendID uint64
	cost    int64
	windows []limited

	done  chan struct{} // filled when the following are set
	spent backend.Spent
	err   error

	patience *time.Timer
	limits   [backend.MaxWindows]limited // room for windows
	room     room                        // for the counts of the id
}

// patience is how long a spend is waited for before its context is asked to tell when
// it ends, which takes a timer of its own from most: a spend in memory is made sooner.
const patience = time.Millisecond

// spendings are those that were answered, whose room is used again. One that was
// given up or failed is not among them: something may still use it.
var spendings = sync.Pool{New: func() any {
	return &spending{done: make(chan struct{}, 1), patience: time.NewTimer(patience)}
}}

// limited is a window, and the most that may be spent in it.
type limited struct {
	window
	max int64
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
	own := spendings.Get().(*spending)
	own.id, own.spendID, own.cost, own.windows = s.ID, s.SpendID, s.Cost, own.limits[:len(s.Windows)]
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
	b.spends.start.Do(b.startLeads)
	b.spends.add(own)
	own.patience.Reset(patience)
	select {
	case <-own.done:
		own.patience.Stop()
		return own.answer()
	case <-own.patience.C:
	}
	select {
	case <-own.done:
		return own.answer()
	case <-ctx.Done():
	}
	if b.spends.withdraw(own) {
		b.calls.RUnlock()
		return backend.Spent{}, refused(contextError(ctx))
	}
	select {
	case <-own.done: // both at once: the better answer
		return own.answer()
	default:
		return backend.Spent{}, unknownOutcome(ctx)
	}
}

// finish answers s.
func (b *Backend) finish(s *spending, err error) {
	if err != nil {
		s.spent, s.err = backend.Spent{}, err
	}
	b.calls.RUnlock()
	s.done <- struct{}{}
}

// answer returns what came of a spend that is done. Nothing must use s after it.
func (s *spending) answer() (backend.Spent, error) {
	spent, err := s.spent, s.err
	if err == nil {
		s.id, s.spent = "", backend.Spent{}
		spendings.Put(s)
	}
	return spent, err
}

// spendOf makes the spends of one id. Counts that are damaged are the error of its
// spends alone.
func (b *Backend) spendOf(txn *badgerdb.Txn, batch []*spending) (effect, error) {
	id, room := batch[0].id, &batch[0].room
	c, err := b.loadCounts(txn, id, room)
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
	return b.putCounts(txn, id, c, room)
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
	for i := range s.spent.Counts {
		s.spent.Counts[i] += s.cost
	}
	c.add(s.spendID, s.windows, s.spent.Counts)
	return true
}
