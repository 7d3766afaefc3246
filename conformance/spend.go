package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
)

var spendChecks = []check{
	{"adds to every window", spendAddsToAll},
	{"up to Max", spendUpToMax},
	{"all windows or none", spendAllOrNone},
	{"what is denied leaves no trace", deniedLeavesNoTrace},
	{"by the Max that is given", spendByGivenMax},
	{"large numbers", spendLargeNumbers},
	{"many windows with long names", spendManyWindows},
	{"windows at any time", spendAtAnyTime},
	{"windows that are much alike", windowsApart},
	{"keys that are much alike", countsOfKeysApart},
	{"the last windows are remembered", lastWindowsKept},
	{"memory", spendMemory},
}

const (
	oneWindow   = rule("the count of a window is that of its name, length and start together")
	windowsKept = rule("of each name and length the KeptWindows windows that were last spent in are remembered")
)

func spendAddsToAll(s *store) {
	c := s.counter(s.handle())
	day, burst := window("day", 24*time.Hour, 0, 100), window("burst", time.Second, 0, 10)
	both := []backend.Window{day, burst}
	s.allow(spendAdds, c, spending("key-1", 3, day, burst), 3, 3)
	s.counted(spendAdds, c, "key-1", both, 3, 3)
	s.allow(spendAdds, c, spending("key-1", 2, day), 5)
	s.counted(spendAdds, c, "key-1", both, 5, 3)
	s.allow(spendAdds, c, spending("key-1", 1, burst, day), 4, 6)
	s.counted(spendAdds, c, "key-1", both, 6, 4)
	burst = window("burst", time.Second, 1, 10)
	s.allow(spendAdds, c, spending("key-1", 1, day, burst), 7, 1)
	s.counted(spendAdds, c, "key-1", []backend.Window{both[1], burst, day}, 4, 1, 7)
}

func spendUpToMax(s *store) {
	c := s.counter(s.handle())
	w := window("day", 24*time.Hour, 0, 10)
	s.deny(spendAdds, c, spending("key-1", 11, w), 0)
	s.counted(spendAdds, c, "key-1", []backend.Window{w}, 0)
	s.allow(spendAdds, c, spending("key-1", 9, w), 9)
	s.deny(spendAdds, c, spending("key-1", 2, w), 9)
	s.counted(spendAdds, c, "key-1", []backend.Window{w}, 9)
	s.allow(spendAdds, c, spending("key-1", 1, w), 10)
	s.deny(spendAdds, c, spending("key-1", 1, w), 10)
	s.deny(spendAdds, c, spending("key-1", 10, w), 10)
	s.counted(spendAdds, c, "key-1", []backend.Window{w}, 10)
	s.allow(spendAdds, c, spending("key-2", 10, w), 10)
	s.allow(spendAdds, c, spending("key-1", 10, window("day", 24*time.Hour, 1, 10)), 10)
}

func spendAllOrNone(s *store) {
	c := s.counter(s.handle())
	windows := []backend.Window{window("a", time.Minute, 0, 10), window("b", time.Minute, 0, 10), window("c", time.Hour, 0, 10)}
	for full := range windows {
		id := []string{"key-1", "key-2", "key-3"}[full]
		counts := make([]int64, len(windows))
		counts[full] = 9
		s.allow(spendAdds, c, spending(id, 9, windows[full]), 9)
		s.deny(allOrNone, c, spending(id, 2, windows...), counts...)
		s.counted(allOrNone, c, id, windows, counts...)
		for i := range counts {
			counts[i]++
		}
		s.allow(spendAdds, c, spending(id, 1, windows...), counts...)
		s.deny(allOrNone, c, spending(id, 1, windows...), counts...)
		s.counted(allOrNone, c, id, windows, counts...)
	}
}

func deniedLeavesNoTrace(s *store) {
	c := s.counter(s.handle())
	w := window("day", 24*time.Hour, 0, 10)
	denied := spending("key-1", 11, w)
	s.deny(noTrace, c, denied, 0)
	s.deny(noTrace, c, denied, 0)
	s.allow(spendAdds, c, spending("key-1", 4, w), 4)
	denied.Windows[0].Max = 20
	s.allow(noTrace, c, denied, 15)
	s.counted(noTrace, c, "key-1", []backend.Window{w}, 15)

	var kept []backend.Window
	for n := range backend.KeptWindows {
		kept = append(kept, window("minute", time.Minute, n, 10))
		s.allow(spendAdds, c, spending("key-2", int64(n)+1, kept[n]), int64(n)+1)
	}
	for n := range 2 * backend.KeptWindows {
		s.deny(noTrace, c, spending("key-2", 11, window("minute", time.Minute, 100+n, 10)), 0)
	}
	s.counted(noTrace, c, "key-2", kept, 1, 2, 3, 4)
}

// spendByGivenMax raises and lowers a limit below what is spent.
func spendByGivenMax(s *store) {
	const r = rule("Max is that of the Spend, whatever it was before")
	c := s.counter(s.handle())
	at := func(most int64) backend.Window { return window("day", 24*time.Hour, 0, most) }
	s.allow(r, c, spending("key-1", 8, at(10)), 8)
	s.deny(r, c, spending("key-1", 1, at(5)), 8)
	s.deny(r, c, spending("key-1", 1, at(8)), 8)
	s.allow(r, c, spending("key-1", 1, at(9)), 9)
	s.allow(r, c, spending("key-1", 10, at(19)), 19)
	s.deny(r, c, spending("key-1", 1, at(1)), 19)
	s.counted(r, c, "key-1", []backend.Window{at(0)}, 19)
}

func spendLargeNumbers(s *store) {
	const r = rule("costs, counts and Max are exact up to MaxCount")
	c := s.counter(s.handle())
	day, hour := window("day", 24*time.Hour, 0, backend.MaxCount), window("hour", time.Hour, 0, backend.MaxCount)
	both := []backend.Window{day, hour}
	s.allow(r, c, spending("key-1", backend.MaxCount-2, day), backend.MaxCount-2)
	s.deny(r, c, spending("key-1", backend.MaxCount, both...), backend.MaxCount-2, 0)
	s.deny(r, c, spending("key-1", 3, both...), backend.MaxCount-2, 0)
	s.allow(r, c, spending("key-1", 1, both...), backend.MaxCount-1, 1)
	s.counted(r, c, "key-1", both, backend.MaxCount-1, 1)
	s.allow(r, c, spending("key-1", 1, both...), backend.MaxCount, 2)
	s.deny(r, c, spending("key-1", 1, both...), backend.MaxCount, 2)
	s.allow(r, c, spending("key-2", backend.MaxCount, both...), backend.MaxCount, backend.MaxCount)
	s.deny(r, c, spending("key-2", backend.MaxCount, both...), backend.MaxCount, backend.MaxCount)
	s.counted(r, c, "key-2", both, backend.MaxCount, backend.MaxCount)
}

func spendManyWindows(s *store) {
	c := s.counter(s.handle())
	id := strings.Repeat("z", backend.MaxIDLen)
	var windows []backend.Window
	var once, twice []int64
	for i := range backend.MaxWindows {
		name := strings.Repeat("n", backend.MaxWindowName-1) + string("09_-azmn"[i])
		windows = append(windows, window(name, time.Duration(i+1)*time.Hour, 0, 10))
		once, twice = append(once, 4), append(twice, 8)
	}
	s.allow(spendAdds, c, spending(id, 4, windows...), once...)
	s.allow(spendAdds, c, spending(id, 4, windows...), twice...)
	s.deny(allOrNone, c, spending(id, 4, windows...), twice...)
	slices.Reverse(windows)
	s.counted(spendAdds, c, id, windows, twice...)
}

// spendAtAnyTime spends in windows that ended long ago, and that begin in a
// distant future: the driver looks at no clock.
func spendAtAnyTime(s *store) {
	const r = rule("a window counts whatever the time is")
	c := s.counter(s.handle())
	for i, w := range []backend.Window{
		{Name: "second", Length: time.Second, Start: time.Unix(0, 0).UTC(), Max: 2},
		{Name: "second", Length: time.Second, Start: time.Unix(1<<31-1, 0).UTC(), Max: 2},
		{Name: "second", Length: time.Second, Start: time.Unix(1<<32, 0).UTC(), Max: 2},
		{Name: "year", Length: 366 * 24 * time.Hour, Start: time.Unix(0, 0).UTC(), Max: 2},
		{Name: "year", Length: 366 * 24 * time.Hour, Start: time.Date(8888, time.December, 31, 23, 59, 59, 0, time.UTC), Max: 2},
	} {
		for _, id := range []string{"key", fmt.Sprintf("key-%d", i)} {
			s.allow(r, c, spending(id, 1, w), 1)
			s.allow(r, c, spending(id, 1, w), 2)
			s.deny(r, c, spending(id, 1, w), 2)
			s.counted(r, c, id, []backend.Window{w}, 2)
		}
	}
}

// windowsApart has windows that a careless name for what is stored, made of
// their parts, would take for one another.
func windowsApart(s *store) {
	c := s.counter(s.handle())
	at := func(name string, seconds, start int64) backend.Window {
		return backend.Window{Name: name, Length: time.Duration(seconds) * time.Second, Start: time.Unix(start, 0).UTC(), Max: 1000}
	}
	windows := []backend.Window{
		at("a", 1, 11), at("a", 1, 12), at("a", 1, 1), at("a", 1, 0),
		at("a", 11, 1), at("a", 11, 11), at("a", 11, 12), at("a", 111, 1),
		at("a1", 1, 1), at("a1", 1, 11), at("a-1", 1, 1), at("a_1", 1, 1),
		at("a-", 1, 11), at("a_", 1, 11), at("1", 1, 11), at("11", 1, 1),
		at("-", 1, 11), at("_", 1, 11), at("--", 1, 11), at("0", 1, 11),
		at("a-1-11", 1, 1), at("a_1_11", 1, 1), at("b", 60, 60), at("b", 60, 90), // that overlap
	}
	for i, w := range windows {
		s.allow(oneWindow, c, spending("key-1", int64(i)+1, w), int64(i)+1)
	}
	for i := 0; i < len(windows); i += backend.MaxWindows {
		var want []int64
		for n := range backend.MaxWindows {
			want = append(want, int64(i+n)+1)
		}
		s.counted(oneWindow, c, "key-1", windows[i:i+backend.MaxWindows], want...)
	}
}

func countsOfKeysApart(s *store) {
	c, other := s.counter(s.handle()), s.counter(s.openNamed(s.name+"x"))
	w := window("day", 24*time.Hour, 0, 1000)
	ids := []string{"key", "KEY", "Key", "key-", "key-1", "key_1", "key-day", "day", "-", "_", "_id", "0", "00",
		strings.Repeat("z", backend.MaxIDLen), strings.Repeat("z", backend.MaxIDLen-1), strings.Repeat("z", backend.MaxIDLen-1) + "y"}
	for i, id := range ids {
		what := spending(id, int64(i)+1, w)
		what.SpendID = 7 // a repeat has both IDs in common
		s.allow(oneKey, c, what, int64(i)+1)
	}
	for i, id := range ids {
		s.counted(oneKey, c, id, []backend.Window{w}, int64(i)+1)
	}
	s.counted("stores of other names have other counts", other, "key", []backend.Window{w}, 0)
	s.allow("stores of other names have other counts", other, spending("key", 1, w), 1)
	s.counted("stores of other names have other counts", c, "key", []backend.Window{w}, 1)
}

// lastWindowsKept spends in windows in an order that is not that of time, as
// clocks that are wrong do.
func lastWindowsKept(s *store) {
	c := s.counter(s.handle())
	limits := []backend.Window{{Name: "a", Length: time.Hour}, {Name: "a", Length: 24 * time.Hour}, {Name: "b", Length: time.Hour}}
	spent := make([]map[int]int64, len(limits)) // by the number of the window
	last := make([][]int, len(limits))
	for i := range limits {
		spent[i] = make(map[int]int64)
	}
	for turn, n := range []int{5, -3, 9000, 0, -3, 1, 0, -3, 2, 1, 3, -3} {
		var windows []backend.Window
		var counts []int64
		for i, l := range limits {
			n := n * (1 - 2*(i%2)) // the second goes the other way
			windows = append(windows, window(l.Name, l.Length, n, 1000))
			spent[i][n] += int64(turn) + 1
			counts = append(counts, spent[i][n])
			last[i] = append(slices.DeleteFunc(last[i], func(m int) bool { return m == n }), n)
			last[i] = last[i][max(0, len(last[i])-backend.KeptWindows):]
		}
		s.allow(windowsKept, c, spending("key-1", int64(turn)+1, windows...), counts...)
		for i, l := range limits {
			var kept []backend.Window
			var counts []int64
			for _, n := range last[i] {
				kept, counts = append(kept, window(l.Name, l.Length, n, 1000)), append(counts, spent[i][n])
			}
			s.counted(windowsKept, c, "key-1", kept, counts...)
		}
	}
}

func spendMemory(s *store) {
	c := s.counter(s.handle())
	day, hour := window("day", 24*time.Hour, 0, 10), window("hour", time.Hour, 0, 10)
	given := []backend.Window{day, hour}
	what := spending("key-1", 1, given...)
	spent, err := c.Spend(s.ctx, what)
	s.ok(spendAdds, err)
	if !slices.Equal(given, []backend.Window{day, hour}) {
		rule("a backend does not modify memory that it is given").Errorf(s, "Spend made %v of the windows", given)
	}
	clear(given)
	clear(spent.Counts)
	s.counted(keepsNothing, c, "key-1", []backend.Window{day, hour}, 1, 1)
	clear(s.counts(c, "key-1", []backend.Window{day, hour}))
	s.counted("what a backend returns belongs to the caller", c, "key-1", []backend.Window{day, hour}, 1, 1)
	s.allow(spendAdds, c, spending("key-1", 1, day, hour), 2, 2)
}
