package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var countsChecks = []check{
	{"Counts changes nothing", countsChangesNothing},
	{"Counts of many windows", countsOfManyWindows},
	{"seen through every handle", countsShared},
	{"ResetCounts forgets", resetForgets},
	{"ResetCounts of one key", resetOneKey},
	{"need no record and are none", countsAreNoRecord},
	{"outlive the record", countsOutliveRecord},
	{"Watch does not tell of them", countsAreNotHeard},
}

const (
	beside     = rule("the counts of a key are a record of their own beside that of the key")
	resetRule  = rule("ResetCounts forgets all counts of the key")
	countsIdle = rule("Counts changes nothing")
)

func countsChangesNothing(s *store) {
	c := s.counter(s.handle())
	var windows []backend.Window
	for n := range 2 * backend.KeptWindows {
		windows = append(windows, window("hour", time.Hour, n, 0)) // Max does not matter
	}
	s.counted(countsIdle, c, "key-1", windows, 0, 0, 0, 0, 0, 0, 0, 0)
	if n := s.purgeAllCounts(c, now.Add(1000*time.Hour)); n != 0 {
		countsIdle.Errorf(s, "PurgeCounts says %d where nothing was spent", n)
	}
	for n, cost := range []int64{1, 2, 3} {
		w := windows[n]
		w.Max = 10
		s.allow(spendAdds, c, spending("key-1", cost, w), cost)
	}
	for range 2 {
		s.counted(countsIdle, c, "key-1", windows, 1, 2, 3, 0, 0, 0, 0, 0)
		s.counted(countsIdle, c, "key-1", windows[2:4], 3, 0)
		s.counted(countsIdle, c, "key-1", []backend.Window{windows[5], windows[1]}, 0, 2)
	}
	s.allow(countsIdle, c, spending("key-1", 5, window("hour", time.Hour, 4, 10)), 5)
}

func countsOfManyWindows(s *store) {
	c := s.counter(s.handle())
	var windows []backend.Window
	var want []int64
	for n := range backend.MaxWindows {
		w := window(fmt.Sprintf("limit-%d", n), time.Hour, n%3, 100)
		windows, want = append(windows, w), append(want, 0)
		if n%2 == 0 {
			want[n] = int64(n) + 1
			s.allow(spendAdds, c, spending("key-1", want[n], w), want[n])
		}
	}
	s.counted(countsOfAll, c, "key-1", windows, want...)
}

func countsShared(s *store) {
	const r = rule("what is spent is seen through every handle of the store once it is acknowledged")
	all := s.counters(3)
	w := window("day", 24*time.Hour, 0, 5)
	seen := func(n int64) {
		s.Helper()
		for _, c := range all {
			s.counted(r, c, "key-1", []backend.Window{w}, n)
		}
	}
	seen(0)
	for n := int64(1); n <= 5; n++ {
		s.allow(r, all[n%3], spending("key-1", 1, w), n)
		seen(n)
	}
	for _, c := range all {
		s.deny(r, c, spending("key-1", 1, w), 5)
	}
	s.resetCounts(all[1], "key-1")
	seen(0)
	s.allow(r, all[2], spending("key-1", 1, w), 1)
	seen(1)
}

func resetForgets(s *store) {
	c := s.counter(s.handle())
	s.resetCounts(c, "key-1") // there are none
	var windows []backend.Window
	for _, name := range []string{"a", "b"} {
		for n := range backend.KeptWindows {
			windows = append(windows, window(name, time.Hour, n, 2))
		}
	}
	for range 2 {
		for _, w := range windows {
			s.allow(resetRule, c, spending("key-1", 2, w), 2)
			s.deny(resetRule, c, spending("key-1", 1, w), 2)
		}
		s.resetCounts(c, "key-1")
		s.counted(resetRule, c, "key-1", windows, 0, 0, 0, 0, 0, 0, 0, 0)
		s.resetCounts(c, "key-1")
	}
	if n := s.purgeAllCounts(c, now.Add(1000*time.Hour)); n != 0 {
		resetRule.Errorf(s, "PurgeCounts says %d with none left", n)
	}
}

func resetOneKey(s *store) {
	c := s.counter(s.handle())
	w := window("day", 24*time.Hour, 0, 10)
	ids := []string{"key", "KEY", "key-1", "key_1", "key-day", "ke", "-", "_", strings.Repeat("k", backend.MaxIDLen)}
	for _, id := range ids {
		s.allow(spendAdds, c, spending(id, 3, w), 3)
	}
	for i, id := range ids {
		s.resetCounts(c, id)
		s.counted(resetRule, c, id, []backend.Window{w}, 0)
		for _, other := range ids[i+1:] {
			s.counted("ResetCounts forgets the counts of no other key", c, other, []backend.Window{w}, 3)
		}
	}
}

func countsAreNoRecord(s *store) {
	b := s.handle()
	c := s.counter(b)
	w := window("day", 24*time.Hour, -1, 10)
	none := func() {
		s.Helper()
		s.lacks(beside, b, "key-1")
		if n := s.purgeAll(b, now.Add(1000*time.Hour)); n != 0 {
			beside.Errorf(s, "Purge says %d, and there is no record", n)
		}
		s.touch(b, map[string]time.Time{"key-1": now})
		err := b.Update(s.ctx, backend.Record{ID: "key-1", Data: []byte("1"), Revision: 1})
		if !errors.Is(err, backend.ErrNotFound) {
			beside.Errorf(s, "Update where there is no record: error is %v", err)
		}
		s.listed(beside, s.all(b, ""), nil)
	}
	s.allow(spendAdds, c, spending("key-1", 2, w), 2)
	none()
	s.delete(b, "key-1")
	s.counted(beside, c, "key-1", []backend.Window{w}, 2)
	none()

	want := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("d"), PurgeAt: now})
	s.counted(beside, c, "key-1", []backend.Window{w}, 2)
	s.allow(spendAdds, c, spending("key-1", 1, w), 3)
	s.deny(spendAdds, c, spending("key-1", 9, w), 3)
	s.holds(beside, b, want)
	s.resetCounts(c, "key-1")
	s.holds(beside, b, want)
	s.allow(spendAdds, c, spending("key-1", 1, w), 1)
	if n := s.purgeAllCounts(c, now); n != 1 {
		countsPurged.Errorf(s, "it says %d of 1 key of which all windows have ended", n)
	}
	s.holds(beside, b, want)
	s.listed(beside, s.all(b, "alice"), []string{"key-1"})
}

func countsOutliveRecord(s *store) {
	b := s.handle()
	c := s.counter(b)
	w := window("day", 24*time.Hour, 0, 10)
	what := spending("key-1", 3, w)
	s.allow(spendAdds, c, what, 3)
	for _, end := range []func(){
		func() { s.delete(b, "key-1") },
		func() { s.purgeAll(b, now) },
	} {
		r := s.create(b, backend.Record{ID: "key-1", Owner: "alice", Data: []byte("0"), PurgeAt: now.Add(time.Hour)})
		s.touch(b, map[string]time.Time{r.ID: now})
		r.Data, r.PurgeAt = []byte("1"), now
		s.update(b, r)
		s.counted(beside, c, "key-1", []backend.Window{w}, 3)
		end()
		s.lacks(beside, b, "key-1")
		s.counted(beside, c, "key-1", []backend.Window{w}, 3)
		s.allow(spendRepeats, c, what, 3)
	}
}

// countsAreNotHeard waits for a change of another record that was made after
// every use of the counts: what these send would have come by then.
func countsAreNotHeard(s *store) {
	all := s.handles(2)
	c := s.counter(all[1])
	changes := s.watch(s.ctx, all[0])
	w := window("day", 24*time.Hour, -1, 2)
	s.create(all[0], backend.Record{ID: "spent", Owner: "alice", Data: []byte("0")})
	marker := s.create(all[0], backend.Record{ID: "marker", Owner: "alice", Data: []byte("0")})
	s.hears("Create", changes, all[0], isCreated, "spent", marker.ID)
	marker.Data = []byte("1")
	marker = s.update(all[0], marker)
	s.hears("Update", changes, all[0], isRevision(2), marker.ID) // whatever came twice has come by now

	s.allow(spendAdds, c, spending("spent", 2, w), 2)
	s.deny(spendAdds, c, spending("spent", 1, w), 2)
	s.resetCounts(c, "spent")
	s.allow(spendAdds, c, spending("spent", 2, w), 2)
	s.counted(spendAdds, c, "spent", []backend.Window{w}, 2)
	s.purgeAllCounts(c, now)
	marker.Data = []byte("2")
	s.update(all[1], marker)
	if s.hears("Update", changes, all[0], isRevision(3), marker.ID)["spent"] {
		rule("Watch tells of no counts").Errorf(s, "the ID of the key came")
	}
}
