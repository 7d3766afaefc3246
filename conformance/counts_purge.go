package conformance

import (
	"fmt"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

var countsPurgeChecks = []check{
	{"what has ended and nothing else", countsPurgeEnded},
	{"by the time that is given", countsPurgeByGivenTime},
	{"by the window that ends last", countsPurgeByLastEnd},
	{"at most limit", countsPurgeLimit},
	{"what is denied or reset does not count", countsPurgeOfNothing},
	{"begins at 0 afterwards", countsPurgeForgets},
	{"at the same time", countsPurgeAtOnce},
	{"against Spend", countsPurgeAgainstSpend},
}

const (
	countsPurged     = rule("PurgeCounts returns of how many keys it forgot the counts")
	endedOnly        = rule("PurgeCounts forgets the counts of keys of which no remembered window ends after now")
	noCountsLeft     = rule("PurgeCounts: none forgotten means that none is left")
	countsPurgedOnce = rule("PurgeCounts at the same time count each key once")
	spendStays       = rule("what is spent in a window that has not ended is not lost to PurgeCounts at the same time")
)

func countsPurgeEnded(s *store) {
	c := s.counter(s.handle())
	end := now.Truncate(time.Second)
	windows := map[string]backend.Window{
		"ended-1970":   {Name: "a", Length: time.Second, Start: time.Unix(0, 0).UTC(), Max: 10},
		"ended-before": {Name: "a", Length: time.Hour, Start: end.Add(-time.Hour - time.Second), Max: 10},
		"ended-now":    {Name: "a", Length: time.Hour, Start: end.Add(-time.Hour), Max: 10},
		"later":        {Name: "a", Length: time.Hour, Start: end.Add(-time.Hour + time.Second), Max: 10},
		"long":         {Name: "a", Length: 366 * 24 * time.Hour, Start: end.Add(-365 * 24 * time.Hour), Max: 10},
		"much-later":   {Name: "a", Length: time.Second, Start: time.Date(8888, time.December, 31, 23, 59, 59, 0, time.UTC), Max: 10},
	}
	for id, w := range windows {
		s.allow(spendAdds, c, spending(id, 3, w), 3)
	}
	for _, at := range []struct {
		time time.Time
		due  int
	}{{end.Add(-time.Millisecond), 2}, {end, 1}, {end.Add(time.Second - time.Millisecond), 0}} {
		if n := s.purgeAllCounts(c, at.time); n != at.due {
			countsPurged.Errorf(s, "it says %d of %d that have ended", n, at.due)
		}
		for id, w := range windows {
			if w.End().After(at.time) {
				s.counted(endedOnly, c, id, []backend.Window{w}, 3)
			} else {
				s.counted(endedOnly, c, id, []backend.Window{w}, 0)
			}
		}
	}
}

// countsPurgeByGivenTime goes through times at which numbers of seconds get one
// more digit or bit, in the past and in the future of any clock.
func countsPurgeByGivenTime(s *store) {
	c := s.counter(s.handle())
	steps := []int64{1, 9, 10, 99, 100, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1e9 - 1, 1e9, 1e10 - 1, 1e10, 1e11}
	at := func(end int64) backend.Window {
		return backend.Window{Name: "a", Length: time.Second, Start: time.Unix(end-1, 0).UTC(), Max: 10}
	}
	for i, end := range steps {
		s.allow(spendAdds, c, spending(fmt.Sprintf("key-%02d", i), 1, at(end)), 1)
	}
	gone := make(map[int64]bool)
	for _, now := range []int64{9, 10, 100, 1e9 - 1, 1e9, 1 << 31, 1e10 - 1, 1e10, 1e11} {
		due := 0
		for _, end := range steps {
			if end <= now && !gone[end] {
				gone[end] = true
				due++
			}
		}
		if n := s.purgeAllCounts(c, time.Unix(now, 0).UTC()); n != due {
			countsPurged.Errorf(s, "it says %d of %d that have ended at %d s", n, due, now)
		}
	}
	for i, end := range steps {
		s.counted(endedOnly, c, fmt.Sprintf("key-%02d", i), []backend.Window{at(end)}, 0)
	}
}

// countsPurgeByLastEnd has keys with windows of which one has not ended, at
// first, in the middle or at last.
func countsPurgeByLastEnd(s *store) {
	c := s.counter(s.handle())
	ended, other := window("minute", time.Minute, -3, 10), window("hour", time.Hour, -2, 10)
	live := window("day", 24*time.Hour, 0, 10)
	kept := map[string][]backend.Window{
		"together": {ended, live, other},
		"first":    {live, ended, other},
		"middle":   {ended, live, other},
		"last":     {ended, other, live},
		"of-one":   {window("minute", time.Minute, 0, 10), ended, window("minute", time.Minute, -4, 10)},
	}
	for id, windows := range kept {
		if id == "together" {
			s.allow(spendAdds, c, spending(id, 1, windows...), 1, 1, 1)
			continue
		}
		for _, w := range windows {
			s.allow(spendAdds, c, spending(id, 1, w), 1)
		}
	}
	s.allow(spendAdds, c, spending("due", 1, ended, other), 1, 1)
	if n := s.purgeAllCounts(c, now); n != 1 {
		countsPurged.Errorf(s, "it says %d of 1 key of which all windows have ended", n)
	}
	for id, windows := range kept {
		s.counted(endedOnly, c, id, windows, 1, 1, 1)
	}
	if n := s.purgeAllCounts(c, live.End()); n != len(kept) {
		countsPurged.Errorf(s, "it says %d of %d keys of which all windows have ended", n, len(kept))
	}
	for id, windows := range kept {
		s.counted(endedOnly, c, id, windows, 0, 0, 0)
	}
}

func countsPurgeLimit(s *store) {
	c := s.counter(s.handle())
	const due = 10
	ended, live := window("hour", time.Hour, -1, 10), window("hour", time.Hour, 0, 10)
	for i := range due {
		s.allow(spendAdds, c, spending(fmt.Sprintf("key-%02d", i), 1, ended), 1)
	}
	s.allow(spendAdds, c, spending("live", 1, live), 1)
	total := 0
	for total < due {
		n := s.purgeCounts(c, now, 3)
		left := 0
		for i := range due {
			left += int(s.counts(c, fmt.Sprintf("key-%02d", i), []backend.Window{ended})[0])
		}
		if total += n; left != due-total {
			countsPurged.Fatalf(s, "it says %d in all, and %d of %d are left", total, left, due)
		}
		if n == 0 {
			noCountsLeft.Fatalf(s, "%d are left", left)
		}
	}
	if n := s.purgeCounts(c, now, 3); n != 0 {
		countsPurged.Errorf(s, "it says %d with none left", n)
	}
	s.counted(endedOnly, c, "live", []backend.Window{live}, 1)
}

// countsPurgeOfNothing spends what is denied in windows that have not ended, and
// resets what has.
func countsPurgeOfNothing(s *store) {
	c := s.counter(s.handle())
	ended, live := window("hour", time.Hour, -1, 10), window("hour", time.Hour, 0, 10)
	s.allow(spendAdds, c, spending("key-1", 1, ended), 1)
	s.deny(spendAdds, c, spending("key-1", 11, live), 0)
	s.deny(spendAdds, c, spending("key-2", 11, ended), 0)
	s.allow(spendAdds, c, spending("key-3", 1, ended), 1)
	s.resetCounts(c, "key-3")
	s.counted(spendAdds, c, "key-4", []backend.Window{ended}, 0)
	if n := s.purgeAllCounts(c, now); n != 1 {
		countsPurged.Errorf(s, "it says %d of 1 key that has counts, all of windows that have ended", n)
	}
	s.counted(noTrace, c, "key-1", []backend.Window{ended, live}, 0, 0)

	s.allow(spendAdds, c, spending("key-1", 1, ended), 1) // what was due under the ID before is not held against it
	s.resetCounts(c, "key-1")
	s.allow(spendAdds, c, spending("key-1", 1, live), 1)
	if n := s.purgeAllCounts(c, now); n != 0 {
		countsPurged.Errorf(s, "it says %d, and no key is left of which all windows have ended", n)
	}
	s.counted(endedOnly, c, "key-1", []backend.Window{live}, 1)
}

func countsPurgeForgets(s *store) {
	c := s.counter(s.handle())
	w := window("hour", time.Hour, -1, 5)
	for range 3 {
		s.allow(endedOnly, c, spending("key-1", 5, w), 5)
		s.deny(spendAdds, c, spending("key-1", 1, w), 5)
		if n := s.purgeAllCounts(c, now); n != 1 {
			countsPurged.Errorf(s, "it says %d of 1 key of which all windows have ended", n)
		}
		s.counted(endedOnly, c, "key-1", []backend.Window{w}, 0)
		if n := s.purgeCounts(c, now, 10); n != 0 {
			countsPurged.Errorf(s, "it says %d with none left", n)
		}
	}
	live := window("hour", time.Hour, 0, 5)
	s.allow(spendAdds, c, spending("key-1", 5, w), 5)
	s.allow(spendAdds, c, spending("key-1", 1, live), 1) // the end moves
	if n := s.purgeAllCounts(c, now); n != 0 {
		countsPurged.Errorf(s, "it says %d, and the last window has not ended", n)
	}
	s.counted(endedOnly, c, "key-1", []backend.Window{w, live}, 5, 1)
}

func countsPurgeAtOnce(s *store) {
	all := s.counters(3)
	const due = 40
	w := window("hour", time.Hour, -1, 10)
	for i := range due {
		s.allow(spendAdds, all[0], spending(fmt.Sprintf("key-%02d", i), 1, w), 1)
	}
	var total atomic.Int64
	s.together(6, func(i int) {
		for range due + 1 {
			n, err := all[i%3].PurgeCounts(s.ctx, now, 5)
			if err != nil {
				countsPurged.Errorf(s, "error is %v", err)
			}
			if n == 0 || err != nil {
				return
			}
			total.Add(int64(n))
		}
	})
	if total.Load() != due {
		countsPurgedOnce.Errorf(s, "together they say %d of %d", total.Load(), due)
	}
	for i := range due {
		s.counted(noCountsLeft, all[0], fmt.Sprintf("key-%02d", i), []backend.Window{w}, 0)
	}
}

// countsPurgeAgainstSpend spends in new windows while the old ones are purged. A
// key is purged before it spends, or not at all.
func countsPurgeAgainstSpend(s *store) {
	all := s.counters(3)
	const rounds, keys, purgers = 8, 8, 2
	ended, live := window("hour", time.Hour, -1, 10), window("hour", time.Hour, 0, 10)
	for round := 0; round < rounds && !s.Failed(); round++ {
		ids := make([]string, keys)
		spends := make([]backend.Spend, keys)
		for i := range ids {
			ids[i] = fmt.Sprintf("key-%d-%d", round, i)
			s.allow(spendAdds, all[0], spending(ids[i], 3, ended), 3)
			spends[i] = spending(ids[i], 2, live)
		}
		var purged atomic.Int64
		s.together(keys+purgers, func(i int) {
			if i < keys {
				if got, err := all[i%2].Spend(s.ctx, spends[i]); err != nil || !got.OK {
					spendStays.Errorf(s, "Spend says OK %v, error is %v", got.OK, err)
				}
				return
			}
			for range keys + 1 {
				n, err := all[2].PurgeCounts(s.ctx, now, 3)
				if err != nil {
					countsPurged.Errorf(s, "error is %v", err)
				}
				if n == 0 || err != nil {
					return
				}
				purged.Add(int64(n))
			}
		})
		forgotten := 0
		for i, id := range ids {
			counts := s.counts(all[0], id, []backend.Window{ended, live})
			if counts[1] != 2 || counts[0] != 3 && counts[0] != 0 {
				spendStays.Errorf(s, "counts of %q are %v, want [0 2] or [3 2]", id, counts)
			}
			if counts[0] == 0 {
				forgotten++
			}
			s.allow(spendRepeats, all[0], spends[i], 2)
		}
		if int(purged.Load()) != forgotten {
			countsPurged.Errorf(s, "it says %d, and the counts of %d keys were forgotten", purged.Load(), forgotten)
		}
		if n := s.purgeAllCounts(all[1], live.End()); n != keys {
			noCountsLeft.Errorf(s, "PurgeCounts says %d of %d keys that spent last in a window that has ended", n, keys)
		}
	}
}
