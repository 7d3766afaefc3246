package conformance

import (
	"math"
	"slices"
	"time"

	"example.com/keystore/backend"
)

var spendRepeatChecks = []check{
	{"adds nothing", repeatedSpend},
	{"of a window that is full", repeatedSpendOfFull},
	{"of the last spends", repeatedSpends},
	{"of a window that is past", repeatedSpendOfPast},
	{"IDs that are much alike", spendIDsApart},
	{"at once", sameSpendAtOnce},
}

const spendRepeats = rule("a repeat of one of the last KeptSpends spends that were OK is OK and adds nothing")

func repeatedSpend(s *store) {
	all := s.counters(2)
	day, hour := window("day", 24*time.Hour, 0, 100), window("hour", time.Hour, 0, 10)
	both := []backend.Window{day, hour}
	first, second := spending("key-1", 3, both...), spending("key-1", 2, both...)
	s.allow(spendAdds, all[0], first, 3, 3)
	s.allow(spendRepeats, all[0], first, 3, 3)
	s.allow(spendAdds, all[0], second, 5, 5)
	s.allow(spendRepeats, all[1], first, 5, 5) // through the other handle
	s.allow(spendRepeats, all[1], second, 5, 5)
	s.allow(spendRepeats, all[0], first, 5, 5)
	s.counted(spendRepeats, all[0], "key-1", both, 5, 5)
}

func repeatedSpendOfFull(s *store) {
	c := s.counter(s.handle())
	at := func(most int64) backend.Window { return window("day", 24*time.Hour, 0, most) }
	first, second := spending("key-1", 9, at(10)), spending("key-1", 1, at(10))
	s.allow(spendAdds, c, first, 9)
	s.allow(spendAdds, c, second, 10)
	s.deny(spendAdds, c, spending("key-1", 1, at(10)), 10)
	s.allow(spendRepeats, c, first, 10)
	s.allow(spendRepeats, c, second, 10)
	first.Windows = []backend.Window{at(1)}
	s.allow(spendRepeats, c, first, 10)
	s.counted(spendRepeats, c, "key-1", first.Windows, 10)
}

func repeatedSpends(s *store) {
	c := s.counter(s.handle())
	w := window("day", 24*time.Hour, 0, 2*backend.KeptSpends)
	var spends []backend.Spend
	for n := range backend.KeptSpends + 6 {
		spends = append(spends, spending("key-1", 1, w))
		s.allow(spendAdds, c, spends[n], int64(n)+1)
		if n%16 == 0 {
			s.deny(spendAdds, c, spending("key-1", backend.MaxCount, w), int64(n)+1)
			s.allow(spendAdds, c, spending("key-2", 1, w), int64(n/16)+1)
		}
	}
	total := int64(len(spends))
	for _, what := range slices.Backward(spends[len(spends)-backend.KeptSpends:]) {
		s.allow(spendRepeats, c, what, total)
	}
	s.counted(spendRepeats, c, "key-1", []backend.Window{w}, total)
}

// repeatedSpendOfPast repeats a spend of a window in the next ones, that is
// remembered no longer by the time of the last.
func repeatedSpendOfPast(s *store) {
	c := s.counter(s.handle())
	first := spending("key-1", 1, window("second", time.Second, 0, 1))
	s.allow(spendAdds, c, first, 1)
	for n := 1; n <= backend.KeptWindows+1; n++ {
		if n < backend.KeptWindows {
			s.allow(spendRepeats, c, first, 1)
		} else if again, err := c.Spend(s.ctx, first); err != nil || !again.OK {
			spendRepeats.Errorf(s, "Spend says OK %v, error is %v", again.OK, err)
		}
		next := spending("key-1", 1, window("second", time.Second, n, 1))
		s.allow(spendAdds, c, next, 1)
		s.allow(spendRepeats, c, next, 1)
	}
}

func spendIDsApart(s *store) {
	const r = rule("spends of other SpendIDs are no repeats")
	c := s.counter(s.handle())
	w := window("day", 24*time.Hour, 0, 1000)
	ids := []uint64{0, 1, 2, 10, 1<<53 - 1, 1 << 53, 1<<53 + 1, 1<<63 - 1, 1 << 63, 1<<63 + 1, math.MaxUint64 - 1, math.MaxUint64, 1 << 32, 1<<32 + 1}
	for i, id := range ids {
		what := spending("key-1", 1, w)
		what.SpendID = id
		s.allow(r, c, what, int64(i)+1)
	}
	for _, id := range ids {
		what := spending("key-1", 1, w)
		what.SpendID = id
		s.allow(spendRepeats, c, what, int64(len(ids)))
	}
}

func sameSpendAtOnce(s *store) {
	all := s.counters(3)
	w := window("day", 24*time.Hour, 0, 6)
	for round := int64(1); round <= 6 && !s.Failed(); round++ {
		what := spending("key-1", 1, w) // the last one fills the window
		s.together(16, func(i int) {
			got, err := all[i%3].Spend(s.ctx, what)
			if err != nil || !got.OK || !slices.Equal(got.Counts, []int64{round}) {
				spendRepeats.Errorf(s, "Spend says OK %v and counts of %v, want true and [%d], error is %v", got.OK, got.Counts, round, err)
			}
		})
		s.counted(spendRepeats, all[0], "key-1", []backend.Window{w}, round)
	}
}
