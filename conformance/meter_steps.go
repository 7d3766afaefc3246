package conformance

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/keystore/backend"
)

// tally is the counts of a subject on a day.
type tally = map[string]int64

// meter returns b as a Meter, or skips the check.
func (s *store) meter(b backend.Backend) backend.Meter {
	s.Helper()
	m, ok := b.(backend.Meter)
	if !ok {
		s.Skip("skipped: the backend is no backend.Meter, which is optional")
	}
	return m
}

// meters opens n handles to the store.
func (s *store) meters(n int) []backend.Meter {
	s.Helper()
	all := make([]backend.Meter, n)
	for i := range all {
		all[i] = s.meter(s.handle())
	}
	return all
}

// adding is an Addition like no other before, that is never purged.
func adding(subject string, day time.Time, counts tally) backend.Addition {
	return backend.Addition{Subject: subject, Day: day, AddID: rand.Uint64(), Counts: counts}
}

// on is the tally of a day.
func on(day time.Time, counts tally) backend.Tally { return backend.Tally{Day: day, Counts: counts} }

func (s *store) add(m backend.Meter, additions ...backend.Addition) {
	s.Helper()
	s.ok("AddUsage returns nil", m.AddUsage(s.ctx, additions))
}

// tallied reports it if the subject has other tallies in the days around today,
// and returns them.
func (s *store) tallied(r rule, m backend.Meter, subject string, want ...backend.Tally) []backend.Tally {
	s.Helper()
	return s.ranged(r, m, subject, dayAfter(-100), dayAfter(100), want)
}

// ranged reports it if the subject has other tallies in [from, to), and returns
// them.
func (s *store) ranged(r rule, m backend.Meter, subject string, from, to time.Time, want []backend.Tally) []backend.Tally {
	s.Helper()
	got, err := m.Usage(s.ctx, subject, from, to)
	s.ok("Usage returns the tallies", err)
	same := func(a, b backend.Tally) bool { return sameTime(a.Day, b.Day) && maps.Equal(a.Counts, b.Counts) }
	if !slices.EqualFunc(got, want, same) {
		r.Errorf(s, "Usage of %q in [%s, %s) is %v, want %v", subject, from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano), got, want)
	}
	return got
}

// purgeUsage calls PurgeUsage once.
func (s *store) purgeUsage(m backend.Meter, at time.Time, limit int) int {
	s.Helper()
	n, err := m.PurgeUsage(s.ctx, at, limit)
	s.ok("PurgeUsage returns how many tallies it forgot", err)
	if n < 0 || n > limit {
		rule("PurgeUsage forgets at most limit tallies").Fatalf(s, "it says %d at a limit of %d", n, limit)
	}
	return n
}

// purgeAllUsage calls PurgeUsage until nothing is left for it.
func (s *store) purgeAllUsage(m backend.Meter, at time.Time) int {
	s.Helper()
	total := 0
	for range 1000 {
		n := s.purgeUsage(m, at, backend.MaxLimit)
		if n == 0 {
			return total
		}
		total += n
	}
	usagePurged.Fatalf(s, "it says %d of a store of fewer than 300, and goes on", total)
	return 0
}
