package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var usageChecks = []check{
	{"adds to tallies", usageAdds},
	{"many counts", usageManyCounts},
	{"large numbers", usageLargeNumbers},
	{"subjects that are much alike", usageSubjects},
	{"a range of days", usageRange},
	{"ascending by day", usageAscends},
	{"many tallies at once", usageManyTallies},
	{"seen through every handle", usageShared},
	{"at the same time", usageAtOnce},
	{"beside the records and counts", usageBeside},
	{"memory", usageMemory},
}

const (
	usageSums   = rule("AddUsage adds to tallies and makes those that are missing")
	inRange     = rule("Usage returns the tallies of the subject whose day is in [from, to), ascending by day")
	oneSubject  = rule("subjects are compared byte for byte")
	usageStands = rule("a tally is of one subject on one day, and of nothing else")
)

// today is the day of every check.
var today = now.Truncate(24 * time.Hour)

// dayAfter is the nth day after today.
func dayAfter(n int) time.Time { return today.AddDate(0, 0, n) }

func usageAdds(s *store) {
	m := s.meter(s.handle())
	s.tallied(usageSums, m, "k1")
	s.add(m, adding("k1", today, tally{"07a": 3}))
	s.tallied(usageSums, m, "k1", on(today, tally{"07a": 3}))
	s.add(m, adding("k1", today, tally{"07a": 2, "08l": 1}))
	s.tallied(usageSums, m, "k1", on(today, tally{"07a": 5, "08l": 1}))
	s.add(m, adding("k1", dayAfter(1), tally{"07a": 1}), adding("k2", today, tally{"07a": 9}), adding("k1", today, tally{"23s": 4}))
	s.tallied(usageSums, m, "k1", on(today, tally{"07a": 5, "08l": 1, "23s": 4}), on(dayAfter(1), tally{"07a": 1}))
	s.tallied(usageSums, m, "k2", on(today, tally{"07a": 9}))
	s.add(m)
	s.tallied(usageSums, m, "k2", on(today, tally{"07a": 9}))
}

func usageManyCounts(s *store) {
	m := s.meter(s.handle())
	names := []string{"0", "00", "a", "aa", "z", "1e5", "0x10", "id", "day", "n", "v", "null", "zzzzzzzz", "00000000", "0000000a"}
	for n := 0; len(names) < backend.MaxTallyNames; n++ {
		names = append(names, fmt.Sprintf("%02d%c", n/4, "alsx"[n%4]))
	}
	once, twice := make(tally), make(tally)
	for i, name := range names {
		once[name], twice[name] = int64(i)+1, 2*int64(i)+2
	}
	s.add(m, adding("k1", today, once))
	s.tallied(usageSums, m, "k1", on(today, once))
	s.add(m, adding("k1", today, once))
	s.tallied(usageSums, m, "k1", on(today, twice))
}

func usageLargeNumbers(s *store) {
	const r = rule("sums of counts are exact up to 1<<53")
	m := s.meter(s.handle())
	s.add(m, adding("k1", today, tally{"a": backend.MaxCount, "b": backend.MaxCount - 1, "c": 1}))
	for range 6 {
		s.add(m, adding("k1", today, tally{"a": backend.MaxCount, "b": backend.MaxCount}))
	}
	s.tallied(r, m, "k1", on(today, tally{"a": 7 << 50, "b": 7<<50 - 1, "c": 1}))
	s.add(m, adding("k1", today, tally{"a": backend.MaxCount, "b": backend.MaxCount}))
	s.tallied(r, m, "k1", on(today, tally{"a": 1 << 53, "b": 1<<53 - 1, "c": 1}))
}

func usageSubjects(s *store) {
	m, other := s.meter(s.handle()), s.meter(s.openNamed(s.name+"x"))
	subjects := []string{
		"k", "K", "kk", "k1", "k-1", "k_1", "k:1", "k/1", "k 1", "k\n1", "k.1", "k$1", "$k", "{k}", "k*", "k%", "\x01", "k\x7f",
		"ó", "ö", "o\u0308", "日本", "🔑", fmt.Sprintf("k:%d", today.Unix()), fmt.Sprintf("k1:%d", today.Unix()/86400), "k" + today.Format(time.DateOnly),
		strings.Repeat("s", backend.MaxSubjectLen), strings.Repeat("s", backend.MaxSubjectLen-1), strings.Repeat("s", backend.MaxSubjectLen-1) + "t",
	}
	for i, subject := range subjects {
		a := adding(subject, today, tally{"a": int64(i) + 1})
		a.AddID = 7 // it is of one tally
		s.add(m, a)
	}
	for i, subject := range subjects {
		s.tallied(oneSubject, m, subject, on(today, tally{"a": int64(i) + 1}))
	}
	s.tallied(oneSubject, m, "never")
	s.tallied("stores of other names have other tallies", other, "k")
	s.add(other, adding("k", today, tally{"a": 50}))
	s.tallied("stores of other names have other tallies", m, "k", on(today, tally{"a": 1}))
}

func usageRange(s *store) {
	m := s.meter(s.handle())
	days := []int{-200, -3, -1, 0, 1, 2, 165, 166, 400}
	var all []backend.Tally
	for i, n := range days {
		a := adding("k1", dayAfter(n), tally{"a": int64(i) + 1})
		s.add(m, a)
		all = append(all, on(a.Day, a.Counts))
	}
	s.add(m, adding("k0", today, tally{"a": 9}), adding("k2", today, tally{"a": 9}))
	for _, c := range []struct{ from, to time.Time }{
		{today, dayAfter(1)},
		{today, today},
		{dayAfter(1), today}, // ends before it begins
		{dayAfter(-1), dayAfter(2)},
		{dayAfter(-3), dayAfter(0)},
		{dayAfter(3), dayAfter(165)},
		{dayAfter(-200), dayAfter(166)}, // 366 days
		{dayAfter(-199), dayAfter(167)},
		{dayAfter(35), dayAfter(401)},
		{today.Add(time.Millisecond), dayAfter(2).Add(time.Millisecond)},
		{now, now.Add(time.Hour)},
		{time.Unix(0, 0).UTC(), time.Unix(0, 0).UTC().AddDate(1, 0, 0)},
	} {
		var want []backend.Tally
		for _, t := range all {
			if !t.Day.Before(c.from) && t.Day.Before(c.to) {
				want = append(want, t)
			}
		}
		s.ranged(inRange, m, "k1", c.from, c.to, want)
	}
}

// usageAscends has days around those at which numbers of days and of seconds get
// one more digit or bit, added in no order.
func usageAscends(s *store) {
	m := s.meter(s.handle())
	for i, edge := range []int64{0, 10, 100, 1000, 4096, 8192, 10000, 11574 /* 1e9 s */, 16384, 24855 /* 1<<31 s */, 32768, 49710 /* 1<<32 s */, 65536, 100000, 2932890 /* the year 9999 */} {
		subject := fmt.Sprintf("k%d", i)
		var want []backend.Tally
		for _, n := range []int64{2, -1, 1, 0, -2} {
			if edge+n < 0 {
				continue
			}
			day := time.Unix((edge+n)*86400, 0).UTC()
			want = append(want, on(day, tally{"a": n + 3}))
			s.add(m, adding(subject, day, tally{"a": n + 3}))
		}
		slices.SortFunc(want, func(a, b backend.Tally) int { return a.Day.Compare(b.Day) })
		s.ranged(inRange, m, subject, want[0].Day, want[len(want)-1].Day.AddDate(0, 0, 1), want)
	}
}

func usageManyTallies(s *store) {
	m := s.meter(s.handle())
	const subjects, days = 50, 5
	var additions []backend.Addition
	for i := range subjects * days {
		additions = append(additions, adding(fmt.Sprintf("k%02d", i/days), dayAfter(i%days), tally{"a": int64(i) + 1, "l": 1}))
	}
	s.add(m, additions...)
	for i := range subjects {
		var want []backend.Tally
		for _, a := range additions[i*days : (i+1)*days] {
			want = append(want, on(a.Day, a.Counts))
		}
		s.tallied(usageSums, m, fmt.Sprintf("k%02d", i), want...)
	}
}

func usageShared(s *store) {
	const r = rule("what is added is seen through every handle of the store once it is acknowledged")
	all := s.meters(3)
	for n := int64(1); n <= 4; n++ {
		s.add(all[n%3], adding("k1", today, tally{"a": 1}))
		for _, m := range all {
			s.tallied(r, m, "k1", on(today, tally{"a": n}))
		}
	}
}

func usageAtOnce(s *store) {
	const r = rule("of additions at the same time none is lost")
	all := s.meters(3)
	for round := 0; round < 5 && !s.Failed(); round++ {
		subject := fmt.Sprintf("k%d", round)
		s.together(16, func(i int) {
			err := all[i%3].AddUsage(s.ctx, []backend.Addition{
				adding(subject, today, tally{"a": 1, "l": int64(i) + 1}),
				adding(subject, dayAfter(1+i%2), tally{"a": 2}),
				adding("o", today, tally{"a": 1}),
			})
			if err != nil {
				r.Errorf(s, "error is %v", err)
			}
		})
		s.tallied(r, all[0], subject, on(today, tally{"a": 16, "l": 136}), on(dayAfter(1), tally{"a": 16}), on(dayAfter(2), tally{"a": 16}))
		s.tallied(r, all[1], "o", on(today, tally{"a": 16 * (int64(round) + 1)}))
	}
}

func usageBeside(s *store) {
	b := s.handle()
	m := s.meter(b)
	s.add(m, adding("key-1", today, tally{"a": 1}))
	s.lacks(usageStands, b, "key-1")
	r := s.create(b, backend.Record{ID: "key-1", Owner: "key-1", Data: []byte("d"), PurgeAt: now})
	s.add(m, adding("key-1", today, tally{"a": 1}))
	s.holds(usageStands, b, r)
	if n := s.purgeUsage(m, now.Add(1000*time.Hour), 10); n != 0 {
		usagePurged.Errorf(s, "it says %d, and no PurgeAt of a tally is set", n)
	}
	s.holds(usageStands, b, r)
	s.delete(b, r.ID)
	s.tallied(usageStands, m, "key-1", on(today, tally{"a": 2}))
	s.create(b, r)
	s.purgeAll(b, now)
	s.listed(usageStands, s.all(b, ""), nil)
	s.tallied(usageStands, m, "key-1", on(today, tally{"a": 2}))

	c, ok := b.(backend.Counter)
	if !ok {
		return
	}
	w := window("day", 24*time.Hour, -1, 10)
	s.allow(usageStands, c, spending("key-1", 3, w), 3)
	s.tallied(usageStands, m, "key-1", on(today, tally{"a": 2}))
	s.add(m, backend.Addition{Subject: "key-1", Day: today, AddID: 1, Counts: tally{"a": 1}, PurgeAt: now})
	s.counted(usageStands, c, "key-1", []backend.Window{w}, 3)
	if n := s.purgeUsage(m, now, 10); n != 1 {
		usagePurged.Errorf(s, "it says %d of 1 that is due", n)
	}
	s.counted(usageStands, c, "key-1", []backend.Window{w}, 3)
	s.add(m, adding("key-1", today, tally{"a": 4}))
	if n := s.purgeAllCounts(c, now); n != 1 {
		countsPurged.Errorf(s, "it says %d of 1 key of which all windows have ended", n)
	}
	s.tallied(usageStands, m, "key-1", on(today, tally{"a": 4}))
}

func usageMemory(s *store) {
	m := s.meter(s.handle())
	given := []backend.Addition{adding("k1", today, tally{"a": 1}), adding("k2", today, tally{"a": 2, "l": 3})}
	before := slices.Clone(given)
	for i := range before {
		before[i].Counts = maps.Clone(given[i].Counts)
	}
	s.add(m, given...)
	for i, a := range given {
		if a.Subject != before[i].Subject || a.AddID != before[i].AddID || !a.Day.Equal(before[i].Day) || !a.PurgeAt.IsZero() || !maps.Equal(a.Counts, before[i].Counts) {
			rule("a backend does not modify memory that it is given").Errorf(s, "AddUsage made %v of %v", a, before[i])
		}
	}
	for _, a := range given {
		a.Counts["a"] = 100
		a.Counts["x"] = 100
	}
	clear(given)
	for range 2 {
		got := s.tallied(keepsNothing, m, "k2", on(today, tally{"a": 2, "l": 3}))
		for _, t := range got { // belongs to the caller
			t.Counts["a"] = 100
			delete(t.Counts, "l")
		}
	}
	s.tallied(keepsNothing, m, "k1", on(today, tally{"a": 1}))
}
