package conformance

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/keystore/backend"
)

var spendRacesChecks = []check{
	{"exactly Max pass", exactlyMaxPass},
	{"the first spends of a key", firstSpends},
	{"several windows and costs", severalWindowsAtOnce},
	{"windows that begin at once", windowsBeginAtOnce},
	{"Counts while spending", countsWhileSpending},
	{"ResetCounts against Spend", resetAgainstSpend},
}

const (
	exactlyMax = rule("of Spends at the same time exactly as many are OK as Max allows")
	oneByOne   = rule("Spends of a key at the same time take effect one after the other")
)

// answers of Spends that were made at the same time.
type spentAtOnce struct {
	sync.Mutex
	ok, denied [][]int64 // the counts
	cost       int64     // of those that were OK
}

// spend makes a Spend on any goroutine, and notes the answer.
func (a *spentAtOnce) spend(s *store, c backend.Counter, what backend.Spend) {
	got, err := c.Spend(s.ctx, what)
	a.Lock()
	defer a.Unlock()
	switch {
	case err != nil:
		rule("calls at the same time do not fail").Errorf(s, "Spend: error is %v", err)
	case len(got.Counts) != len(what.Windows):
		rule("Spend returns the counts of the windows").Errorf(s, "counts are %v of %d windows", got.Counts, len(what.Windows))
	case got.OK:
		a.ok, a.cost = append(a.ok, got.Counts), a.cost+what.Cost
	default:
		a.denied = append(a.denied, got.Counts)
	}
}

// oneByOne reports it if the answers to Spends of 1 in one window are not 1 to
// most, and most to those that were denied.
func (a *spentAtOnce) oneByOne(s *store, most int64) {
	s.Helper()
	if int64(len(a.ok)) != most {
		exactlyMax.Errorf(s, "%d were OK of a Max of %d", len(a.ok), most)
		return
	}
	slices.SortFunc(a.ok, slices.Compare)
	for i, counts := range a.ok {
		if counts[0] != int64(i)+1 {
			oneByOne.Errorf(s, "the counts that came are %v, want each of 1 to %d once", a.ok, most)
			return
		}
	}
	for _, counts := range a.denied {
		if counts[0] != most {
			oneByOne.Errorf(s, "one was denied at a count of %d of %d", counts[0], most)
		}
	}
}

func exactlyMaxPass(s *store) {
	all := s.counters(3)
	const callers, most = 64, 100
	w := window("day", 24*time.Hour, 0, most)
	var a spentAtOnce
	s.together(callers, func(i int) {
		for range 2 {
			a.spend(s, all[i%3], spending("key-1", 1, w))
		}
	})
	a.oneByOne(s, most)
	s.counted(exactlyMax, all[0], "key-1", []backend.Window{w}, most)
}

func firstSpends(s *store) {
	all := s.counters(3)
	const callers, most = 12, 5
	for round := 0; round < 6 && !s.Failed(); round++ {
		id, w := fmt.Sprintf("key-%d", round), window("day", 24*time.Hour, 0, most)
		var a spentAtOnce
		s.together(callers, func(i int) { a.spend(s, all[i%3], spending(id, 1, w)) })
		a.oneByOne(s, most)
		s.counted(exactlyMax, all[0], id, []backend.Window{w}, most)
	}
}

func severalWindowsAtOnce(s *store) {
	all := s.counters(3)
	for round := 0; round < 4 && !s.Failed(); round++ {
		id := fmt.Sprintf("key-%d", round)
		windows := []backend.Window{window("day", 24*time.Hour, 0, 1000), window("hour", time.Hour, 0, 20), window("minute", time.Minute, 0, 30)}
		var a spentAtOnce
		s.together(16, func(i int) { a.spend(s, all[i%3], spending(id, int64(i%3)+1, windows...)) })
		if a.cost > 20 || a.cost < 18 { // all are of 3 at most
			exactlyMax.Errorf(s, "those that were OK cost %d, of a Max of 20", a.cost)
		}
		for _, counts := range slices.Concat(a.ok, a.denied) {
			if counts[0] != counts[1] || counts[1] != counts[2] {
				allOrNone.Errorf(s, "counts are %v of windows that were spent in together", counts)
			}
		}
		s.counted(allOrNone, all[0], id, windows, a.cost, a.cost, a.cost)
	}
}

// windowsBeginAtOnce is what clocks that differ do at the edge of a window.
func windowsBeginAtOnce(s *store) {
	all := s.counters(3)
	const most = 4
	for round := 0; round < 4 && !s.Failed(); round++ {
		var windows []backend.Window
		answers := make([]spentAtOnce, 2)
		for n := range answers {
			windows = append(windows, window("second", time.Second, 2*round+n, most))
		}
		s.together(16, func(i int) { answers[i%2].spend(s, all[i%3], spending("key-1", 1, windows[i%2])) })
		for n := range answers {
			answers[n].oneByOne(s, most)
		}
		s.counted(exactlyMax, all[0], "key-1", windows, most, most)
	}
}

func countsWhileSpending(s *store) {
	all := s.counters(3)
	const most = 30
	windows := []backend.Window{window("day", 24*time.Hour, 0, most), window("hour", time.Hour, 0, most)}
	last := make([]int64, 2)
	s.during(len(last), func(reader, _ int) error {
		counts, err := all[2].Counts(s.ctx, "key-1", windows)
		if err != nil || s.Failed() {
			return err
		}
		if len(counts) != 2 || counts[0] != counts[1] || counts[0] > most || counts[0] < last[reader] {
			oneByOne.Errorf(s, "Counts are %v of windows that are spent in together up to %d, after %d", counts, most, last[reader])
			return nil
		}
		last[reader] = counts[0]
		return nil
	}, func(pass func()) {
		var a spentAtOnce
		for range 8 {
			pass()
			s.together(6, func(i int) { a.spend(s, all[i%2], spending("key-1", 1, windows...)) })
		}
		a.oneByOne(s, most)
	})
	s.counted(exactlyMax, all[0], "key-1", windows, most, most)
}

// resetAgainstSpend resets the counts once in the midst of the spends: some come
// before it, and some after it.
func resetAgainstSpend(s *store) {
	all := s.counters(3)
	const callers = 12
	w := window("day", 24*time.Hour, 0, 1000)
	for round := 0; round < 6 && !s.Failed(); round++ {
		id := fmt.Sprintf("key-%d", round)
		var a spentAtOnce
		s.together(callers+1, func(i int) {
			if i < callers {
				a.spend(s, all[i%3], spending(id, 1, w))
			} else if err := all[2].ResetCounts(s.ctx, id); err != nil {
				resetRule.Errorf(s, "error is %v", err)
			}
		})
		after := s.counts(all[0], id, []backend.Window{w})[0]
		var want []int64
		for n := range after {
			want = append(want, n+1)
		}
		for n := range callers - after {
			want = append(want, n+1)
		}
		slices.Sort(want)
		var got []int64
		for _, counts := range a.ok {
			got = append(got, counts[0])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			oneByOne.Errorf(s, "the counts that came are %v, want %v: of those before ResetCounts, and of the %d after it", got, want, after)
		}
	}
}
