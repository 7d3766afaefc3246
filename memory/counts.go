package memory

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/keystore/backend"
)

var _ backend.Counter = (*Backend)(nil)

// counters holds what is spent of the limits of all keys. Its lock is its own, so
// that whoever spends waits for no reader of records.
type counters struct {
	mu   sync.Mutex
	byID map[string]*counter
	due  queue[string] // by the end of the last window
}

// counter is what is spent of the limits of one key.
type counter struct {
	windows []counted // the one that was spent in last is the last
	spends  []uint64  // SpendIDs of the last spends, the oldest first
	turn    turn[string]
}

// counted is a window in which something was spent.
type counted struct {
	window
	end   time.Time
	count int64
}

// window tells one window of a key from another.
type window struct {
	name   string
	length time.Duration
	start  int64 // Unix seconds
}

func windowOf(w backend.Window) window { return window{w.Name, w.Length, w.Start.Unix()} }

// Spend implements [backend.Counter].
func (b *Backend) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	if err := b.ready(ctx); err != nil {
		return backend.Spent{}, err
	}
	all := &b.store.counters
	all.mu.Lock()
	defer all.mu.Unlock()
	c := all.byID[s.ID]
	if c == nil {
		c = &counter{turn: turn[string]{key: strings.Clone(s.ID)}} // it may be a part of a long text
	}
	counts := c.counts(s.Windows)
	if slices.Contains(c.spends, s.SpendID) {
		return backend.Spent{OK: true, Counts: counts}, nil
	}
	for i, w := range s.Windows {
		if s.Cost > w.Max-counts[i] { // a sum could overflow
			return backend.Spent{Counts: counts}, nil
		}
	}
	for i, w := range s.Windows {
		counts[i] += s.Cost
		c.put(w, counts[i])
	}
	c.spends = remember(c.spends, s.SpendID, backend.KeptSpends)
	if all.byID == nil {
		all.byID = make(map[string]*counter)
	}
	all.byID[c.turn.key] = c
	all.due.put(&c.turn, c.end())
	return backend.Spent{OK: true, Counts: counts}, nil
}

// Counts implements [backend.Counter].
func (b *Backend) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	all := &b.store.counters
	all.mu.Lock()
	defer all.mu.Unlock()
	if c := all.byID[id]; c != nil {
		return c.counts(windows), nil
	}
	return make([]int64, len(windows)), nil
}

// ResetCounts implements [backend.Counter].
func (b *Backend) ResetCounts(ctx context.Context, id string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	all := &b.store.counters
	all.mu.Lock()
	defer all.mu.Unlock()
	if c := all.byID[id]; c != nil {
		all.due.remove(&c.turn)
		delete(all.byID, id)
	}
	return nil
}

// PurgeCounts implements [backend.Counter].
func (b *Backend) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	all := &b.store.counters
	return purge(ctx, b, &all.mu, &all.due, now, limit, func(id string) { delete(all.byID, id) })
}

func (c *counter) find(w window) int {
	return slices.IndexFunc(c.windows, func(known counted) bool { return known.window == w })
}

// counts returns the counts of windows, 0 for those that are not known.
func (c *counter) counts(windows []backend.Window) []int64 {
	counts := make([]int64, len(windows))
	for i, w := range windows {
		if at := c.find(windowOf(w)); at >= 0 {
			counts[i] = c.windows[at].count
		}
	}
	return counts
}

// put sets the count of a window, which becomes the last that was spent in. Of its
// limit, the windows beyond backend.KeptWindows are forgotten.
func (c *counter) put(w backend.Window, count int64) {
	spent := counted{windowOf(w), w.End(), count}
	if at := c.find(spent.window); at >= 0 {
		spent.name = c.windows[at].name
		c.windows = slices.Delete(c.windows, at, at+1)
	} else {
		spent.name = strings.Clone(w.Name) // as the ID
	}
	c.windows = append(c.windows, spent)
	ofLimit := func(known counted) bool { return known.name == w.Name && known.length == w.Length }
	kept := 0
	for _, known := range c.windows {
		if ofLimit(known) {
			kept++
		}
	}
	if kept > backend.KeptWindows {
		oldest := slices.IndexFunc(c.windows, ofLimit)
		c.windows = slices.Delete(c.windows, oldest, oldest+1)
	}
}

// end returns when the last of the windows ends.
func (c *counter) end() time.Time {
	var last time.Time
	for _, w := range c.windows {
		if w.end.After(last) {
			last = w.end
		}
	}
	return last
}

// remember appends an ID, and forgets the oldest of more than limit.
func remember(ids []uint64, id uint64, limit int) []uint64 {
	if len(ids) == limit {
		ids = slices.Delete(ids, 0, 1)
	}
	return append(ids, id)
}
