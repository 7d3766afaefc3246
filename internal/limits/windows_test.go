package limits

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// windows has 64 callers in three processes ask for more than a limit of 100, in
// several windows in turn: in each exactly 100 pass.
func windows(t *testing.T, f *fleet) {
	id, token := f.limited(t, limit("minute", 100, time.Minute))
	start, times := noon, sized(3, 30)
	if f.store.few {
		times = sized(2, 6)
	}
	for n := range times {
		start = start.Add(time.Duration(n) * time.Minute) // some are left out
		now := start.Add(17 * time.Second)
		e := expected{limit: "minute", left: 100, passes: 100, now: now, reset: start.Add(time.Minute)}
		f.look(t, now, f.crowd(token)).require(t, e)
		require.Equal(t, map[string]int64{"minute": 0}, f.remaining(t, id, now))
	}
	// A clock that goes back finds the windows before as they were.
	before := start.Add(-time.Duration(times-1) * time.Minute)
	f.look(t, before, single(6, token)).require(t, expected{limit: "minute", now: before, reset: before.Add(time.Minute)})
}

// edge looks up a millisecond before a window ends, when it ends, and a millisecond
// later.
func edge(t *testing.T, f *fleet) {
	id, token := f.limited(t, limit("minute", 100, time.Minute))
	end := noon.Add(time.Minute)
	before, after := end.Add(-time.Millisecond), end.Add(time.Millisecond)
	old := expected{limit: "minute", left: 100, passes: 100, now: before, reset: end}
	f.look(t, before, f.crowd(token)).require(t, old)
	f.look(t, end, single(40, token)).require(t, expected{limit: "minute", left: 100, passes: 40, now: end, reset: end.Add(time.Minute)})
	f.look(t, after, f.crowd(token)).require(t, expected{limit: "minute", left: 60, passes: 60, now: after, reset: end.Add(time.Minute)})
	// The window before is still spent, for whoever has a clock that is behind.
	old.left, old.passes = 0, 0
	f.look(t, before, single(6, token)).require(t, old)
	require.Equal(t, map[string]int64{"minute": 0}, f.remaining(t, id, after))
}

// skew has clocks that are a second apart pass the edge of a window: each spends in
// the window that is open by its own clock, and in each window exactly 100 pass.
func skew(t *testing.T, f *fleet) {
	f.ahead = []time.Duration{-500 * time.Millisecond, 0, 500 * time.Millisecond}
	defer func() { f.ahead = nil }()
	id, token := f.limited(t, limit("minute", 100, time.Minute))
	end := noon.Add(time.Minute)
	var all answers
	for at := -2 * time.Second; at <= 2*time.Second; at += 500 * time.Millisecond {
		a := f.look(t, end.Add(at), single(30, token))
		for _, one := range a {
			require.Empty(t, one.Wrong)
		}
		windows := a.resets("minute")
		switch {
		case at == -500*time.Millisecond: // 90 were spent before; 10 are left for two clocks, and the third is ahead
			require.Equal(t, map[int64]int{end.UnixMilli(): 10, end.Add(time.Minute).UnixMilli(): 10}, windows)
		case at >= 500*time.Millisecond: // no clock is behind the edge any more
			require.NotContains(t, windows, end.UnixMilli())
		}
		all = append(all, a...)
	}
	require.Equal(t, map[int64]int{end.UnixMilli(): 100, end.Add(time.Minute).UnixMilli(): 100}, all.resets("minute"))
	require.Equal(t, map[string]int64{"minute": 0}, f.remaining(t, id, end.Add(-time.Second)))
	require.Equal(t, map[string]int64{"minute": 0}, f.remaining(t, id, end))
}
