package conformance

import (
	"math/rand/v2"
	"slices"
	"time"

	"example.com/keystore/backend"
)

const (
	spendAdds = rule("Spend adds the cost to the count of every window, if no count exceeds its Max then")
	allOrNone = rule("Spend adds to none of the windows, if one count would exceed its Max")
	noTrace   = rule("a Spend that was not OK leaves no trace")
	oneKey    = rule("the counts of a key are its own")

	countsOfAll = rule("Counts returns the counts of windows in their order, 0 for those in which nothing was spent")
)

// counter returns b as a Counter, or skips the check.
func (s *store) counter(b backend.Backend) backend.Counter {
	s.Helper()
	c, ok := b.(backend.Counter)
	if !ok {
		s.Skip("skipped: the backend is no backend.Counter, which is optional")
	}
	return c
}

// counters opens n handles to the store.
func (s *store) counters(n int) []backend.Counter {
	s.Helper()
	all := make([]backend.Counter, n)
	for i := range all {
		all[i] = s.counter(s.handle())
	}
	return all
}

// window returns the nth window of a limit after the one that now is in.
func window(name string, length time.Duration, n int, most int64) backend.Window {
	seconds := int64(length / time.Second)
	start := time.Unix(now.Unix()-now.Unix()%seconds, 0).UTC()
	return backend.Window{Name: name, Length: length, Start: start.Add(time.Duration(n) * length), Max: most}
}

// spending is a Spend like no other before.
func spending(id string, cost int64, windows ...backend.Window) backend.Spend {
	return backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: cost, Windows: windows}
}

// allow makes a Spend that must be OK and leave the windows with the counts.
func (s *store) allow(r rule, c backend.Counter, what backend.Spend, counts ...int64) {
	s.Helper()
	s.spend(r, c, what, true, counts)
}

// deny makes a Spend that must not be OK, with the counts as they are.
func (s *store) deny(r rule, c backend.Counter, what backend.Spend, counts ...int64) {
	s.Helper()
	s.spend(r, c, what, false, counts)
}

func (s *store) spend(r rule, c backend.Counter, what backend.Spend, ok bool, counts []int64) {
	s.Helper()
	got, err := c.Spend(s.ctx, what)
	s.ok("Spend returns whether the cost was added", err)
	if got.OK != ok || !slices.Equal(got.Counts, counts) {
		r.Errorf(s, "Spend of %d by %q says OK %v and counts of %v, want %v and %v", what.Cost, what.ID, got.OK, got.Counts, ok, counts)
	}
}

// counts returns the counts of the windows, of which there are as many.
func (s *store) counts(c backend.Counter, id string, windows []backend.Window) []int64 {
	s.Helper()
	got, err := c.Counts(s.ctx, id, windows)
	s.ok("Counts returns the counts of the windows", err)
	if len(got) != len(windows) {
		countsOfAll.Fatalf(s, "%d came of %d", len(got), len(windows))
	}
	return got
}

// counted reports it if the windows of the key do not have the counts.
func (s *store) counted(r rule, c backend.Counter, id string, windows []backend.Window, counts ...int64) {
	s.Helper()
	if got := s.counts(c, id, windows); !slices.Equal(got, counts) {
		r.Errorf(s, "Counts of %q are %v, want %v", id, got, counts)
	}
}

func (s *store) resetCounts(c backend.Counter, id string) {
	s.Helper()
	s.ok("ResetCounts returns nil", c.ResetCounts(s.ctx, id))
}

// purgeCounts calls PurgeCounts once.
func (s *store) purgeCounts(c backend.Counter, at time.Time, limit int) int {
	s.Helper()
	n, err := c.PurgeCounts(s.ctx, at, limit)
	s.ok("PurgeCounts returns of how many keys it forgot the counts", err)
	if n < 0 || n > limit {
		rule("PurgeCounts forgets the counts of at most limit keys").Fatalf(s, "it says %d at a limit of %d", n, limit)
	}
	return n
}

// purgeAllCounts calls PurgeCounts until nothing is left for it.
func (s *store) purgeAllCounts(c backend.Counter, at time.Time) int {
	s.Helper()
	total := 0
	for range 1000 {
		n := s.purgeCounts(c, at, backend.MaxLimit)
		if n == 0 {
			return total
		}
		total += n
	}
	countsPurged.Fatalf(s, "it says %d of a store of fewer than 300, and goes on", total)
	return 0
}
