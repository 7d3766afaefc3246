package conformance

import (
	"fmt"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

var usagePurgeChecks = []check{
	{"what is due and nothing else", usagePurgeDue},
	{"by the last PurgeAt", usagePurgeMoved},
	{"at most limit", usagePurgeLimit},
	{"one day of several", usagePurgeOneDay},
	{"begins at 0 afterwards", usagePurgeForgets},
	{"at the same time", usagePurgeAtOnce},
	{"against AddUsage", usagePurgeAgainstAdd},
}

const (
	usagePurged     = rule("PurgeUsage returns how many tallies it forgot")
	usageDueOnly    = rule("PurgeUsage forgets tallies whose PurgeAt is set and not after now")
	usageNoneLeft   = rule("PurgeUsage: none forgotten means that none is left")
	usagePurgedOnce = rule("PurgeUsage at the same time count each tally once")
	additionStays   = rule("an addition whose PurgeAt is after now is not lost to PurgeUsage at the same time")
	usageByLast     = rule("the PurgeAt of an addition takes the place of an earlier one")
)

// addingUntil is an addition of 1.
func addingUntil(subject string, day, purgeAt time.Time) backend.Addition {
	a := adding(subject, day, tally{"a": 1})
	a.PurgeAt = purgeAt
	return a
}

func usagePurgeDue(s *store) {
	m := s.meter(s.handle())
	purgeAt := map[string]time.Time{
		"due-1970":   time.UnixMilli(0).UTC(),
		"due-before": now.Add(-time.Millisecond),
		"due-now":    now,
		"later":      now.Add(time.Millisecond),
		"much-later": time.Date(8888, time.December, 31, 23, 59, 59, 0, time.UTC),
		"never":      {},
	}
	for subject, at := range purgeAt {
		s.add(m, addingUntil(subject, today, at))
	}
	if n := s.purgeAllUsage(m, now); n != 3 {
		usagePurged.Errorf(s, "it says %d of 3 that are due", n)
	}
	for subject, at := range purgeAt {
		if at.IsZero() || at.After(now) {
			s.tallied(usageDueOnly, m, subject, on(today, tally{"a": 1}))
		} else {
			s.tallied(usageDueOnly, m, subject)
		}
	}
	if n := s.purgeUsage(m, now, 10); n != 0 {
		usagePurged.Errorf(s, "it says %d with none left", n)
	}
	if n := s.purgeAllUsage(m, now.Add(time.Millisecond)); n != 1 {
		usagePurged.Errorf(s, "it says %d of 1 that is due", n)
	}
	s.tallied(usageDueOnly, m, "never", on(today, tally{"a": 1}))
}

func usagePurgeMoved(s *store) {
	m := s.meter(s.handle())
	moves := []struct {
		subject  string
		from, to time.Time
		due      bool
	}{
		{"later", now, now.Add(time.Hour), false},
		{"sooner", now.Add(time.Hour), now, true},
		{"never", now, time.Time{}, false},
		{"at last", time.Time{}, now, true},
		{"stays", now, now, true},
	}
	due := 0
	for _, move := range moves {
		s.add(m, addingUntil(move.subject, today, move.from))
		s.add(m, addingUntil(move.subject, today, move.to))
		if move.due {
			due++
		}
	}
	if n := s.purgeAllUsage(m, now); n != due {
		usagePurged.Errorf(s, "it says %d of %d that are due", n, due)
	}
	for _, move := range moves {
		if move.due {
			s.tallied(usageByLast, m, move.subject)
		} else {
			s.tallied(usageByLast, m, move.subject, on(today, tally{"a": 2}))
		}
	}
}

func usagePurgeLimit(s *store) {
	m := s.meter(s.handle())
	const due = 10
	for i := range due {
		s.add(m, addingUntil(fmt.Sprintf("k%d", i), today, now))
	}
	s.add(m, addingUntil("later", today, now.Add(time.Hour)))
	total := 0
	for total < due {
		n := s.purgeUsage(m, now, 3)
		left := 0
		for i := range due {
			got, err := m.Usage(s.ctx, fmt.Sprintf("k%d", i), today, dayAfter(1))
			s.ok("Usage returns the tallies", err)
			left += len(got)
		}
		if total += n; left != due-total {
			usagePurged.Fatalf(s, "it says %d in all, and %d of %d are left", total, left, due)
		}
		if n == 0 {
			usageNoneLeft.Fatalf(s, "%d are left", left)
		}
	}
	s.tallied(usageDueOnly, m, "later", on(today, tally{"a": 1}))
}

func usagePurgeOneDay(s *store) {
	m := s.meter(s.handle())
	for n := range 4 {
		s.add(m, addingUntil("k1", dayAfter(n), now.AddDate(0, 0, n-1)), addingUntil("k2", dayAfter(n), now.AddDate(0, 0, n+1)))
	}
	if n := s.purgeAllUsage(m, now); n != 2 {
		usagePurged.Errorf(s, "it says %d of 2 that are due", n)
	}
	one := tally{"a": 1}
	s.tallied(usageDueOnly, m, "k1", on(dayAfter(2), one), on(dayAfter(3), one))
	s.tallied(usageDueOnly, m, "k2", on(dayAfter(0), one), on(dayAfter(1), one), on(dayAfter(2), one), on(dayAfter(3), one))
}

// usagePurgeForgets begins tallies anew whose former ones were due: what a store
// noted of those must not be held against these.
func usagePurgeForgets(s *store) {
	m := s.meter(s.handle())
	for range 3 {
		for _, at := range []time.Time{{}, now.Add(time.Hour)} {
			s.add(m, addingUntil("k1", today, now))
			s.add(m, addingUntil("k1", today, now))
			if n := s.purgeAllUsage(m, now); n != 1 {
				usagePurged.Errorf(s, "it says %d of 1 that is due", n)
			}
			s.tallied(usageDueOnly, m, "k1")
			s.add(m, addingUntil("k1", today, at))
			if n := s.purgeAllUsage(m, now); n != 0 {
				usageDueOnly.Errorf(s, "it forgot %d, and none was due", n)
			}
			s.tallied(usageDueOnly, m, "k1", on(today, tally{"a": 1}))
			s.add(m, addingUntil("k1", today, now))
			if n := s.purgeAllUsage(m, now); n != 1 {
				usagePurged.Errorf(s, "it says %d of 1 that is due", n)
			}
		}
	}
}

func usagePurgeAtOnce(s *store) {
	all := s.meters(3)
	const due = 40
	var additions []backend.Addition
	for i := range due {
		additions = append(additions, addingUntil(fmt.Sprintf("k%d", i%10), dayAfter(i/10), now))
	}
	s.add(all[0], additions...)
	var total atomic.Int64
	s.together(6, func(i int) {
		for range due + 1 {
			n, err := all[i%3].PurgeUsage(s.ctx, now, 5)
			if err != nil {
				usagePurged.Errorf(s, "error is %v", err)
			}
			if n == 0 || err != nil {
				return
			}
			total.Add(int64(n))
		}
	})
	if total.Load() != due {
		usagePurgedOnce.Errorf(s, "together they say %d of %d", total.Load(), due)
	}
	for i := range 10 {
		s.tallied(usageNoneLeft, all[0], fmt.Sprintf("k%d", i))
	}
}

// usagePurgeAgainstAdd adds to tallies, which then are due no longer, while they
// are purged. A tally is purged before the addition, or not at all.
func usagePurgeAgainstAdd(s *store) {
	all := s.meters(3)
	const rounds, subjects, purgers = 6, 8, 2
	for round := 0; round < rounds && !s.Failed(); round++ {
		names := make([]string, subjects)
		for i := range names {
			names[i] = fmt.Sprintf("k%d-%d", round, i)
			s.add(all[0], addingUntil(names[i], today, now))
		}
		var purged atomic.Int64
		s.together(subjects+purgers, func(i int) {
			if i < subjects {
				a := addingUntil(names[i], today, now.Add(time.Hour))
				a.Counts["a"] = 10
				if err := all[i%2].AddUsage(s.ctx, []backend.Addition{a}); err != nil {
					additionStays.Errorf(s, "error is %v", err)
				}
				return
			}
			for range subjects + 1 {
				n, err := all[2].PurgeUsage(s.ctx, now, 3)
				if err != nil {
					usagePurged.Errorf(s, "error is %v", err)
				}
				if n == 0 || err != nil {
					return
				}
				purged.Add(int64(n))
			}
		})
		forgotten := 0
		for _, name := range names {
			got, err := all[0].Usage(s.ctx, name, today, dayAfter(1))
			s.ok("Usage returns the tallies", err)
			if len(got) != 1 || got[0].Counts["a"] != 10 && got[0].Counts["a"] != 11 {
				additionStays.Errorf(s, "Usage of %q is %v, want a tally of 10 or 11", name, got)
				continue
			}
			if got[0].Counts["a"] == 10 {
				forgotten++
			}
		}
		if int(purged.Load()) != forgotten {
			usagePurged.Errorf(s, "it says %d, and %d tallies were forgotten", purged.Load(), forgotten)
		}
	}
}
