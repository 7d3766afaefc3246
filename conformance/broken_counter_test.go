package conformance

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// This file is what the breakages of backend.Counter are made of.

// counterFaults are what a broken Counter does in place of what it should. What
// is nil is sound.
type counterFaults struct {
	id     func(h handle, id string) string
	window func(w *backend.Window)
	spend  func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error)
	counts func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error)
	reset  func(ctx context.Context, h handle, id string) error
	purge  func(ctx context.Context, h handle, now time.Time, limit int) (int, error)
}

// ledger is what the handles of one store know of its counts, by ID, for a
// breakage to go by.
type ledger struct {
	spent   map[string][]backend.Window // in which something was spent
	tried   map[string][]backend.Window // or was denied
	spends  map[string][]uint64         // SpendIDs that were OK
	reset   int                         // keys that had counts
	answers map[string][]int64          // of Counts
}

func newLedger() ledger {
	return ledger{
		spent:   make(map[string][]backend.Window),
		tried:   make(map[string][]backend.Window),
		spends:  make(map[string][]uint64),
		answers: make(map[string][]int64),
	}
}

type brokenCounter struct {
	handle
	faults counterFaults
	closed *atomic.Bool
}

func counterWith(faults counterFaults) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenCounter{h, faults, new(atomic.Bool)} }
}

func spendWith(spend func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error)) func(h handle) backend.Backend {
	return counterWith(counterFaults{spend: spend})
}

func countsWith(counts func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error)) func(h handle) backend.Backend {
	return counterWith(counterFaults{counts: counts})
}

func resetWith(reset func(ctx context.Context, h handle, id string) error) func(h handle) backend.Backend {
	return counterWith(counterFaults{reset: reset})
}

func purgeCountsWith(purge func(ctx context.Context, h handle, now time.Time, limit int) (int, error)) func(h handle) backend.Backend {
	return counterWith(counterFaults{purge: purge})
}

func windowsWith(window func(w *backend.Window)) func(h handle) backend.Backend {
	return counterWith(counterFaults{window: window})
}

func idsWith(id func(h handle, id string) string) func(h handle) backend.Backend {
	return counterWith(counterFaults{id: id})
}

func (b brokenCounter) named(id string, windows []backend.Window) (string, []backend.Window) {
	if b.faults.id != nil {
		id = b.faults.id(b.handle, id)
	}
	if b.faults.window != nil {
		windows = slices.Clone(windows)
		for i := range windows {
			b.faults.window(&windows[i])
		}
	}
	return id, windows
}

func (b brokenCounter) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	s.ID, s.Windows = b.named(s.ID, s.Windows)
	spend := b.faults.spend
	if spend == nil {
		spend = func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) { return h.Spend(ctx, s) }
	}
	spent, err := spend(ctx, b.handle, s)
	b.side.Lock()
	defer b.side.Unlock()
	if err == nil && !slices.Contains(b.side.spends[s.ID], s.SpendID) {
		b.side.tried[s.ID] = append(b.side.tried[s.ID], s.Windows...)
		if spent.OK {
			b.side.spent[s.ID] = append(b.side.spent[s.ID], s.Windows...)
			b.side.spends[s.ID] = append(b.side.spends[s.ID], s.SpendID)
		}
	}
	return spent, err
}

func (b brokenCounter) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	id, windows = b.named(id, windows)
	if b.faults.counts != nil {
		return b.faults.counts(ctx, b.handle, id, windows)
	}
	return b.handle.Counts(ctx, id, windows)
}

func (b brokenCounter) ResetCounts(ctx context.Context, id string) error {
	id, _ = b.named(id, nil)
	if b.faults.reset != nil {
		return b.faults.reset(ctx, b.handle, id)
	}
	return b.handle.forget(ctx, id)
}

func (b brokenCounter) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	if b.faults.purge != nil {
		return b.faults.purge(ctx, b.handle, now, limit)
	}
	return b.handle.PurgeCounts(ctx, now, limit)
}

func (b brokenCounter) Close() error {
	b.side.closes(b.closed)
	return b.handle.Close()
}

// closes notes that a handle closes, if it has not before.
func (s *side) closes(closed *atomic.Bool) {
	if !closed.CompareAndSwap(false, true) {
		return
	}
	s.Lock()
	defer s.Unlock()
	if s.handles--; s.handles == 0 {
		s.lives++
	}
}

// forget resets the counts of a key, also in the ledger.
func (h handle) forget(ctx context.Context, id string) error {
	err := h.ResetCounts(ctx, id)
	h.side.Lock()
	defer h.side.Unlock()
	if err == nil && len(h.side.spent[id]) > 0 {
		delete(h.side.spent, id)
		h.side.reset++
	}
	return err
}

// repeats reports whether s was OK before.
func (h handle) repeats(s backend.Spend) bool {
	h.side.Lock()
	defer h.side.Unlock()
	return slices.Contains(h.side.spends[s.ID], s.SpendID)
}

// raised is s in windows that hold anything.
func raised(s backend.Spend) backend.Spend {
	s.Windows = slices.Clone(s.Windows)
	for i := range s.Windows {
		s.Windows[i].Max = 1 << 60
	}
	return s
}

// exceeded reports whether s would be one too many after counts.
func exceeded(s backend.Spend, counts []int64) bool {
	for i, w := range s.Windows {
		if counts[i]+s.Cost > w.Max {
			return true
		}
	}
	return false
}

// forgetting remembers n windows, of those that are taken for windows of the
// same limit, in the order in which they were used.
func forgetting(n int, used func(l ledger, id string) []backend.Window, sameLimit func(a, b backend.Window) bool) func(h handle) backend.Backend {
	return countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		h.side.Lock()
		defer h.side.Unlock()
		for i, w := range windows {
			var last []string // windows
			for _, u := range slices.Backward(used(h.side.ledger, id)) {
				if which := u.Name + u.Length.String() + u.Start.String(); sameLimit(u, w) && !slices.Contains(last, which) && len(last) < n {
					last = append(last, which)
				}
			}
			if err == nil && !slices.Contains(last, w.Name+w.Length.String()+w.Start.String()) {
				counts[i] = 0
			}
		}
		return counts, err
	})
}

func spentIn(l ledger, id string) []backend.Window { return l.spent[id] }
func triedIn(l ledger, id string) []backend.Window { return l.tried[id] }
func spentByTime(l ledger, id string) []backend.Window {
	return slices.SortedFunc(slices.Values(l.spent[id]), func(a, b backend.Window) int { return a.Start.Compare(b.Start) })
}

func sameNameAndLength(a, b backend.Window) bool { return a.Name == b.Name && a.Length == b.Length }
func sameName(a, b backend.Window) bool          { return a.Name == b.Name }

// purging forgets keys by the windows in which they spent.
func purging(due func(windows []backend.Window, now time.Time) bool) func(h handle) backend.Backend {
	return purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		for _, id := range h.dueCounts(func(windows []backend.Window) bool { return due(windows, now) }) {
			if n < limit && err == nil {
				err = h.forget(ctx, id)
				n++
			}
		}
		return n, err
	})
}

// dueCounts returns the IDs of the keys whose windows are due.
func (h handle) dueCounts(due func(windows []backend.Window) bool) (ids []string) {
	h.side.Lock()
	defer h.side.Unlock()
	for id, windows := range h.side.spent {
		if due(windows) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// allEnded is when counts are due.
func allEnded(now time.Time) func(windows []backend.Window) bool {
	return func(windows []backend.Window) bool {
		return !slices.ContainsFunc(windows, func(w backend.Window) bool { return w.End().After(now) })
	}
}

// perHandle counts in every handle by itself.
type perHandle struct {
	handle
	own *memory.Backend
}

func (b perHandle) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	return b.own.Spend(ctx, s)
}

func (b perHandle) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	return b.own.Counts(ctx, id, windows)
}

func (b perHandle) ResetCounts(ctx context.Context, id string) error {
	return b.own.ResetCounts(ctx, id)
}

// sharedCounts are those of the stores whose names begin alike.
var sharedCounts sync.Map

type heardSpends struct{ announcing }

func (b heardSpends) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	spent, err := b.handle.Spend(ctx, s)
	return spent, b.announce(s.ID, err)
}
