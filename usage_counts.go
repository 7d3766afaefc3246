package keystore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// What the Meter knows: whose usage it is, and the names of the counts.
const (
	keySubject   = "k" // then the key's id
	ownerSubject = "o" // then the owner
)

// validSubject is false for what a caller passed by mistake.
func validSubject(subject string) bool {
	return len(subject) > 1 && (subject[:1] != keySubject || validID(subject[1:]))
}

// counted is what is counted of the lookups of one hour. The name of a count is
// the two digits of its hour and one of countNames.
type counted int

const (
	countAllowed counted = iota
	countLimited
	countMissingScope
	countExtra // what allowed lookups cost beyond 1 each
	countKinds
)

const countNames = "alsx"

func countName(hour int, what counted) string {
	return string([]byte{byte('0' + hour/10), byte('0' + hour%10), countNames[what]})
}

// hoursOf returns the hours of a tally that have counts. Names that are none of
// ours are left out.
func hoursOf(t backend.Tally) []Usage {
	var hours []Usage
	for hour := range 24 {
		n := func(what counted) uint64 { return uint64(max(t.Counts[countName(hour, what)], 0)) }
		u := Usage{
			Start:   t.Day.Add(time.Duration(hour) * time.Hour),
			Allowed: n(countAllowed), Limited: n(countLimited), MissingScope: n(countMissingScope),
		}
		u.Cost = u.Allowed + n(countExtra)
		if u.Cost+u.Limited+u.MissingScope > 0 {
			hours = append(hours, u)
		}
	}
	return hours
}

const (
	maxUsageCells = 100_000 // keys and hours that wait for the next flush; further ones are not counted
	usageBatch    = 500     // tallies per backend call, each with a timeout of its own
	usageShards   = 64
)

// usageCounts counts lookups by key and hour, until they are written all at once.
// To count never waits for the backend.
type usageCounts struct {
	on      bool
	ended   atomic.Bool
	waiting atomic.Int64 // cells in all shards
	lost    atomic.Uint64
	shards  [usageShards]usageShard

	writing chan struct{}      // holds one during a flush: a lock that can be waited for under a context
	pending []backend.Addition // taken from the shards, and perhaps written; the next flush repeats them as they are
	damage  error              // the last one that a flush met: tallies that took nothing
}

type usageShard struct {
	mu    sync.Mutex
	cells map[usageHour]*usageCell
	_     [48]byte // a cache line to each
}

type usageHour struct {
	id   string
	hour int64 // since 1970
}

// usageCell counts one key in one hour. Once it is taken its counts are negative,
// and stay so: nobody would see what is added to them.
type usageCell struct {
	owner string
	hour  int64
	n     [countKinds]atomic.Int64
}

const cellTaken = math.MinInt64 / 2

// usageRef is where a cached entry remembers the cell of its key, so that counting
// a hit is one atomic addition and no lock. The zero value is ready; it is safe for
// concurrent use.
type usageRef struct{ cell atomic.Pointer[usageCell] }

// counted counts a lookup, which ended so. refs may be nil.
func (s *Keystore) counted(k *Key, now time.Time, what counted, a *ask, refs *useRefs) {
	if a.peek {
		return
	}
	var ref *usageRef
	if refs != nil {
		ref = &refs.counted
	}
	s.count(k, now, what, 1, ref)
	if what == countAllowed && a.cost > 1 {
		s.count(k, now, countExtra, a.cost-1, ref)
	}
}

// count adds n to a count of the key. ref may be nil.
func (s *Keystore) count(k *Key, now time.Time, what counted, n int64, ref *usageRef) {
	if !s.usage.on || !inRange(now) {
		return
	}
	hour := now.Unix() / 3600
	if ref != nil {
		if cell := ref.cell.Load(); cell != nil && cell.hour == hour && cell.n[what].Add(n) > 0 {
			return
		}
	}
	for {
		cell := s.usage.cell(k, hour)
		if ref != nil && cell != nil {
			ref.cell.Store(cell)
		}
		switch {
		case cell == nil && what != countExtra:
			s.usage.lost.Add(uint64(n))
			return
		case cell == nil, cell.n[what].Add(n) > 0:
			return
		}
	}
}

// cell returns where lookups of the key are counted, nil if there is no room.
func (u *usageCounts) cell(k *Key, hour int64) *usageCell {
	shard := &u.shards[maphash.String(noteSeed, k.ID)%usageShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if cell := shard.cells[usageHour{k.ID, hour}]; cell != nil {
		return cell
	}
	if u.ended.Load() {
		return nil
	}
	if u.waiting.Add(1) > maxUsageCells {
		u.waiting.Add(-1)
		return nil
	}
	if shard.cells == nil {
		shard.cells = make(map[usageHour]*usageCell)
	}
	cell := &usageCell{owner: strings.Clone(k.Owner), hour: hour}
	shard.cells[usageHour{strings.Clone(k.ID), hour}] = cell // not the text of the whole record
	return cell
}

// take empties the cells, and returns what is to be added to the tallies of keys
// and owners.
func (u *usageCounts) take(retention time.Duration) []backend.Addition {
	type tally struct {
		subject string
		day     int64
	}
	sums := make(map[tally]map[string]int64)
	add := func(subject string, hour int64, what counted, n int64) {
		t := tally{subject, hour / 24}
		if sums[t] == nil {
			sums[t] = make(map[string]int64)
		}
		name := countName(int(hour%24), what)
		sums[t][name] = min(sums[t][name]+n, backend.MaxCount) // or the store would refuse it, and all that waits behind it
	}
	for i := range u.shards {
		shard := &u.shards[i]
		shard.mu.Lock()
		cells := shard.cells
		shard.cells = nil
		shard.mu.Unlock()
		u.waiting.Add(-int64(len(cells)))
		for at, cell := range cells {
			for what := range countKinds {
				if n := cell.n[what].Swap(cellTaken); n > 0 {
					add(keySubject+at.id, at.hour, what, n)
					add(ownerSubject+cell.owner, at.hour, what, n)
				}
			}
		}
	}
	additions := make([]backend.Addition, 0, len(sums))
	for t, named := range sums {
		a := backend.Addition{Subject: t.subject, Day: time.Unix(t.day*24*3600, 0).UTC(), AddID: rand.Uint64(), Counts: named}
		if retention != Never {
			a.PurgeAt = a.Day.Add(day).Add(retention) // together they may overflow
		}
		additions = append(additions, a)
	}
	return additions
}

// flushUsage writes what was counted, each call of the store within a timeout. What
// could not be written is repeated by the next flush, before anything else: by
// contract it counts once. What is for damaged tallies is lost, and no error: it
// would be in the way of all that is counted later.
func (s *Keystore) flushUsage(ctx context.Context, each time.Duration) error {
	u := &s.usage
	if !u.on {
		return nil
	}
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	damage, err := s.addPending(ctx, each)
	if err == nil {
		u.pending = u.take(s.opts.UsageRetention)
		var more error
		more, err = s.addPending(ctx, each)
		damage = cmp.Or(damage, more)
	}
	if damage != nil {
		u.damage = damage
		s.opts.Logger.Warn("keystore: usage was lost: there are damaged tallies in the store, to which nothing can be added", "error", damage)
	}
	return err
}

// addPending returns the first of the damages that it met, and the error that ended it.
func (s *Keystore) addPending(ctx context.Context, each time.Duration) (damage, err error) {
	u := &s.usage
	for len(u.pending) > 0 {
		n := min(len(u.pending), usageBatch)
		err := s.addUsage(ctx, each, u.pending[:n])
		switch {
		case errors.Is(err, backend.ErrDamagedTally):
			damage = cmp.Or(damage, err)
		case err != nil:
			return damage, err
		}
		u.pending = u.pending[n:]
	}
	u.pending = nil
	return damage, nil
}

// addUsage is one backend call. It is repeated soon if its outcome is unknown: by
// the next flush, others may have added so much that the store does not recognize it.
func (s *Keystore) addUsage(ctx context.Context, within time.Duration, batch []backend.Addition) error {
	op := boundBy(ctx, within)
	defer op.end()
	for try := 1; ; try++ {
		err := s.meter.AddUsage(op, batch)
		if try == sendTries || err == nil || isFinal(err) || backoff(op, try) != nil {
			return err
		}
	}
}

// isFinal reports whether it is known what an AddUsage that failed has added.
func isFinal(err error) bool {
	return errors.Is(err, backend.ErrNotApplied) || errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrDamagedTally)
}

// flushUsageLast writes usage for the last time and says what was lost. It goes on as
// long as the store answers: what waits may be more than can be written in one OpTimeout.
func (s *Keystore) flushUsageLast() error {
	if !s.usage.on {
		return nil
	}
	each := s.opts.OpTimeout
	if each == Never {
		each = closeBound
	}
	err := s.flushUsage(context.Background(), each)
	waiting := s.usage.forget()
	lost := s.usage.lost.Load() + waiting
	switch {
	case lost == 0:
		err = nil
	case err != nil:
		err = fmt.Errorf("%w: usage of %d lookups was lost, or may be counted already: %w", ErrUnavailable, lost, err)
	default:
		err = fmt.Errorf("keystore: usage of %d lookups was lost, because more than %d keys were used between two flushes", lost, maxUsageCells)
	}
	if damage := s.usage.damage; damage != nil {
		err = errors.Join(err, fmt.Errorf("keystore: usage for damaged tallies was lost, of how many lookups is not known: %w", damage))
	}
	return err
}

// forget drops what waits and returns how many lookups that were.
func (u *usageCounts) forget() (lookups uint64) {
	u.writing <- struct{}{}
	defer func() { <-u.writing }()
	u.ended.Store(true)
	u.pending = append(u.pending, u.take(Never)...)
	for _, a := range u.pending {
		for name, n := range a.Counts {
			if a.Subject[:1] == keySubject && name[2] != countNames[countExtra] {
				lookups += uint64(n)
			}
		}
	}
	u.pending = nil
	return lookups
}
