package memory

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/keystore/backend"
)

var _ backend.Meter = (*Backend)(nil)

// tallies holds how much all subjects used. Its lock is its own, as that of
// counters.
type tallies struct {
	mu  sync.Mutex
	of  map[string]map[int64]*tally // by subject and day
	due queue[subjectDay]
}

// subjectDay tells one tally from another. The day is that of its start in Unix
// seconds.
type subjectDay struct {
	subject string
	day     int64
}

type tally struct {
	counts map[string]int64
	added  []uint64 // AddIDs of the last additions, the oldest first
	turn   turn[subjectDay]
}

// AddUsage implements [backend.Meter].
func (b *Backend) AddUsage(ctx context.Context, additions []backend.Addition) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	for _, a := range additions {
		b.store.tallies.add(a)
	}
	return nil
}

// Usage implements [backend.Meter].
func (b *Backend) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	all := &b.store.tallies
	all.mu.Lock()
	defer all.mu.Unlock()
	var found []backend.Tally
	for start, t := range all.of[subject] {
		if day := time.Unix(start, 0).UTC(); !day.Before(from) && day.Before(to) {
			found = append(found, backend.Tally{Day: day, Counts: maps.Clone(t.counts)})
		}
	}
	slices.SortFunc(found, func(a, b backend.Tally) int { return a.Day.Compare(b.Day) })
	return found, nil
}

// PurgeUsage implements [backend.Meter].
func (b *Backend) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	all := &b.store.tallies
	return purge(ctx, b, &all.mu, &all.due, now, limit, func(which subjectDay) {
		delete(all.of[which.subject], which.day)
		if len(all.of[which.subject]) == 0 {
			delete(all.of, which.subject)
		}
	})
}

// add makes one addition, unless it was made before.
func (all *tallies) add(a backend.Addition) {
	all.mu.Lock()
	defer all.mu.Unlock()
	t := all.tally(subjectDay{a.Subject, a.Day.Unix()})
	if slices.Contains(t.added, a.AddID) {
		return
	}
	for name, n := range a.Counts {
		t.counts[name] += n
	}
	t.added = remember(t.added, a.AddID, backend.KeptAdditions)
	if a.PurgeAt.IsZero() {
		all.due.remove(&t.turn)
	} else {
		all.due.put(&t.turn, a.PurgeAt)
	}
}

// tally returns a tally, and makes it if it is missing; the caller holds the lock.
func (all *tallies) tally(which subjectDay) *tally {
	if all.of == nil {
		all.of = make(map[string]map[int64]*tally)
	}
	days := all.of[which.subject]
	if days == nil {
		days = make(map[int64]*tally)
		all.of[which.subject] = days
	}
	if days[which.day] == nil {
		days[which.day] = &tally{counts: make(map[string]int64), turn: turn[subjectDay]{key: which}}
	}
	return days[which.day]
}
