package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// brokenSpends are breakages of Spend.
var brokenSpends = []breakage{
	{"Spend decides by what it read before", exactlyMax, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		counts, err := h.Counts(ctx, s.ID, s.Windows)
		if yield(); err != nil || !h.repeats(s) && exceeded(s, counts) {
			return backend.Spent{Counts: counts}, err
		}
		return h.Spend(ctx, raised(s))
	})},
	{"Spend goes past Max by one", spendAdds, windowsWith(func(w *backend.Window) { w.Max++ })},
	{"Spend stops short of Max", spendAdds, windowsWith(func(w *backend.Window) { w.Max-- })},
	{"Spend looks at the first window alone", allOrNone, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		whole := raised(s)
		whole.Windows[0].Max = s.Windows[0].Max
		return h.Spend(ctx, whole)
	})},
	{"Spend spends window by window", allOrNone, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent := backend.Spent{OK: true}
		for i, w := range s.Windows {
			one := s
			one.SpendID, one.Windows = s.SpendID+uint64(i)<<40, []backend.Window{w}
			got, err := h.Spend(ctx, one)
			if err != nil {
				return got, err
			}
			spent.OK, spent.Counts = spent.OK && got.OK, append(spent.Counts, got.Counts...)
		}
		return spent, nil
	})},
	{"Spend consumes what it denies", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if err == nil && !spent.OK {
			s.SpendID = rand.Uint64()
			h.Spend(ctx, raised(s))
		}
		return spent, err
	})},
	{"Spend consumes what is left", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if err == nil && !spent.OK {
			s.SpendID = rand.Uint64()
			if s.Cost = s.Windows[0].Max - spent.Counts[0]; s.Cost > 0 {
				h.Spend(ctx, s)
			}
		}
		return spent, err
	})},
	{"Spend shows a denied cost", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		for i := range spent.Counts {
			if !spent.OK {
				spent.Counts[i] += s.Cost
			}
		}
		return spent, err
	})},
	{"Spend shows the counts before", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		counts, _ := h.Counts(ctx, s.ID, s.Windows)
		spent, err := h.Spend(ctx, s)
		spent.Counts = counts
		return spent, err
	})},
	{"Spend shows the counts in an order of its own", spendAdds, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		slices.Sort(spent.Counts)
		return spent, err
	})},
	{"Spend shows what others spent", oneByOne, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if yield(); err == nil {
			spent.Counts, err = h.Counts(ctx, s.ID, s.Windows)
		}
		return spent, err
	})},
	{"Spend goes by the first Max", "Max is that of the Spend, whatever it was before", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		first := slices.Concat(h.side.spent[s.ID], s.Windows)[0]
		h.side.Unlock()
		s.Windows = slices.Clone(s.Windows)
		if sameNameAndLength(first, s.Windows[0]) {
			s.Windows[0].Max = first.Max
		}
		return h.Spend(ctx, s)
	})},
	{"Spend counts in 32 bits", "costs, counts and Max are exact up to MaxCount", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		s.Cost = max(1, s.Cost&(1<<32-1))
		return h.Spend(ctx, s)
	})},
	{"Spend goes by its own clock", "a window counts whatever the time is", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if s.Windows[0].End().Before(time.Now()) && err == nil {
			h.ResetCounts(ctx, s.ID)
		}
		return spent, err
	})},
	{"Spend fails without a record", "Spend returns whether the cost was added", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if _, err := h.Get(ctx, s.ID); err != nil {
			return backend.Spent{}, err
		}
		return h.Spend(ctx, s)
	})},
	{"Spend makes a record", beside, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if _, err := h.Get(ctx, s.ID); errors.Is(err, backend.ErrNotFound) {
			h.Create(ctx, backend.Record{ID: s.ID, Owner: "counts"})
		}
		return h.Spend(ctx, s)
	})},
	{"Spend bumps the revision", beside, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if r, err := h.Get(ctx, s.ID); err == nil {
			h.force(ctx, r)
		}
		return h.Spend(ctx, s)
	})},
	{"Spend changes the windows that it is given", "a backend does not modify memory that it is given", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		slices.Reverse(s.Windows)
		return spent, err
	})},
	{"Spend is told by Watch", "Watch tells of no counts", func(h handle) backend.Backend { return heardSpends{announcing{h}} }},
	{"Spend counts in its handle", "what is spent is seen through every handle of the store once it is acknowledged", func(h handle) backend.Backend { return perHandle{h, memory.New()} }},

	{"a repeat counts again", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		s.SpendID = rand.Uint64()
		return h.Spend(ctx, s)
	})},
	{"a repeat is denied once the window is full", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if counts, err := h.Counts(ctx, s.ID, s.Windows); err == nil && exceeded(s, counts) {
			return backend.Spent{Counts: counts}, nil
		}
		return h.Spend(ctx, s)
	})},
	{"a repeat is known if it is one of the last few", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		known := h.side.spends[s.ID]
		h.side.Unlock()
		if !slices.Contains(known[max(0, len(known)-backend.KeptSpends+1):], s.SpendID) {
			s.SpendID = rand.Uint64()
		}
		return h.Spend(ctx, s)
	})},
	{"a repeat is known in its window alone", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		spent := h.side.spent[s.ID]
		if len(spent) == 0 || !spent[len(spent)-1].Start.Equal(s.Windows[len(s.Windows)-1].Start) {
			s.SpendID = rand.Uint64()
		}
		h.side.Unlock()
		return h.Spend(ctx, s)
	})},
	{"a repeat is known by its handle alone", spendRepeats, func(h handle) backend.Backend {
		mask := rand.Uint64()
		return spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
			s.SpendID ^= mask
			return h.Spend(ctx, s)
		})(h)
	}},
	{"a repeat shows the counts of then", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		first := fmt.Sprint(s.ID, s.SpendID)
		spent, err := h.Spend(ctx, s)
		h.side.Lock()
		defer h.side.Unlock()
		if h.side.answers[first] == nil && spent.OK {
			h.side.answers[first] = slices.Clone(spent.Counts)
		}
		if spent.OK {
			spent.Counts = slices.Clone(h.side.answers[first])
		}
		return spent, err
	})},
	{"a repeat of what was denied is OK", noTrace, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		h.side.Lock()
		defer h.side.Unlock()
		if id := fmt.Sprint(s.ID, s.SpendID); err == nil && !spent.OK {
			spent.OK = h.side.answers[id] != nil
			h.side.answers[id] = spent.Counts
		}
		return spent, err
	})},
	{"SpendIDs lose their last bits", "spends of other SpendIDs are no repeats", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		if s.SpendID >= 1<<53 {
			s.SpendID &^= 1
		}
		return h.Spend(ctx, s)
	})},
	{"SpendIDs are of the store", oneKey, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		defer h.side.Unlock()
		for id, spends := range h.side.spends {
			if id != s.ID && slices.Contains(spends, s.SpendID) {
				counts, err := h.Counts(ctx, s.ID, s.Windows)
				return backend.Spent{OK: true, Counts: counts}, err
			}
		}
		return h.Spend(ctx, s)
	})},

	{"Spend ignores the context", `Spend returns "context canceled" if the context has ended`, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		return h.Spend(context.WithoutCancel(ctx), s)
	})},
	{"Spend knows what it cannot know", honestOutcome, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if yield(); err == nil && ctx.Err() != nil {
			return backend.Spent{}, errors.Join(backend.ErrNotApplied, ctx.Err())
		}
		return spent, err
	})},
	{"Spend counts after Close", "what returns ErrClosed has no effect", spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		spent, err := h.Spend(ctx, s)
		if errors.Is(err, backend.ErrClosed) {
			h.store.Open().Spend(ctx, s)
		}
		return spent, err
	})},
	{"Close loses the spends", spendRepeats, spendWith(func(ctx context.Context, h handle, s backend.Spend) (backend.Spent, error) {
		h.side.Lock()
		s.SpendID ^= uint64(h.side.lives) << 32
		h.side.Unlock()
		return h.Spend(ctx, s)
	})},
}

// brokenCounts are breakages of what is counted, and of the other methods of
// backend.Counter.
var brokenCounts = []breakage{
	{"a window is forgotten too early", windowsKept, forgetting(backend.KeptWindows-1, spentIn, sameNameAndLength)},
	{"windows are forgotten by their time", windowsKept, forgetting(backend.KeptWindows, spentByTime, sameNameAndLength)},
	{"windows are forgotten by their name", windowsKept, forgetting(backend.KeptWindows, spentIn, sameName)},
	{"windows are forgotten for what is denied", noTrace, forgetting(backend.KeptWindows, triedIn, sameNameAndLength)},
	{"windows of other names are one", oneWindow, windowsWith(func(w *backend.Window) { w.Name = "any" })},
	{"windows of other lengths are one", oneWindow, windowsWith(func(w *backend.Window) { w.Length = time.Hour })},
	{"windows that overlap are one", oneWindow, windowsWith(func(w *backend.Window) {
		w.Start = time.Unix(w.Start.Unix()-w.Start.Unix()%int64(w.Length/time.Second), 0)
	})},
	{"windows are told apart by their parts in a row", oneWindow, windowsWith(func(w *backend.Window) {
		w.Name = fmt.Sprint(w.Name, int(w.Length.Seconds()), w.Start.Unix())
		w.Start, w.Length = time.Unix(0, 0), time.Hour
	})},
	{"counts of IDs in upper and lower case are one", oneKey, idsWith(func(_ handle, id string) string { return strings.ToLower(id) })},
	{"counts of long IDs are one", oneKey, idsWith(func(_ handle, id string) string { return id[:min(len(id), backend.MaxIDLen-1)] })},
	{"counts of stores are one", "stores of other names have other counts", func(h handle) backend.Backend {
		store, _ := sharedCounts.LoadOrStore(h.name[:16], new(memory.Store))
		return perHandle{h, store.(*memory.Store).Open()}
	}},
	{"Close loses the counts", countsSurvive, idsWith(func(h handle, id string) string {
		h.side.Lock()
		defer h.side.Unlock()
		return fmt.Sprint(id, "-", h.side.lives)
	})},
	{"Delete takes the counts along", beside, deleteWith(func(ctx context.Context, h handle, id string) error {
		return errors.Join(h.Delete(ctx, id), h.ResetCounts(ctx, id))
	})},
	{"Purge takes the counts along", beside, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		for _, r := range h.due(now) {
			h.ResetCounts(ctx, r.ID)
		}
		return h.Purge(ctx, now, limit)
	})},
	{"Create begins the counts anew", beside, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		return errors.Join(h.Create(ctx, r), h.ResetCounts(ctx, r.ID))
	})},

	{"Counts spends", countsIdle, countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		h.Spend(ctx, raised(spending(id, 1, windows...)))
		return counts, err
	})},
	{"Counts goes by Max", countsIdle, countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		for i := range counts {
			counts[i] = min(counts[i], windows[i].Max)
		}
		return counts, err
	})},
	{"Counts leaves out what is 0", countsOfAll, countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		return slices.DeleteFunc(counts, func(n int64) bool { return n == 0 }), err
	})},
	{"Counts fails where nothing was spent", "Counts returns the counts of the windows", countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		if err == nil && !slices.ContainsFunc(counts, func(n int64) bool { return n > 0 }) {
			return nil, backend.ErrNotFound
		}
		return counts, err
	})},
	{"Counts reads window by window", oneByOne, countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) (all []int64, err error) {
		for _, w := range windows {
			counts, err := h.Counts(ctx, id, []backend.Window{w})
			if yield(); err != nil {
				return nil, err
			}
			all = append(all, counts...)
		}
		return all, nil
	})},
	{"Counts gives away what it keeps", "what a backend returns belongs to the caller", countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		counts, err := h.Counts(ctx, id, windows)
		h.side.Lock()
		defer h.side.Unlock()
		version := fmt.Sprint(id, windows, counts)
		if h.side.answers[version] == nil && err == nil {
			h.side.answers[version] = counts
		}
		return h.side.answers[version], err
	})},
	{"Counts goes on after Close", "after Close Counts returns ErrClosed", countsWith(func(ctx context.Context, h handle, id string, windows []backend.Window) ([]int64, error) {
		return h.store.Open().Counts(ctx, id, windows)
	})},

	{"ResetCounts forgets nothing", resetRule, resetWith(func(ctx context.Context, h handle, id string) error {
		_, err := h.Counts(ctx, id, nil)
		return err
	})},
	{"ResetCounts fails if there are none", "ResetCounts returns nil", resetWith(func(ctx context.Context, h handle, id string) error {
		if len(h.dueCounts(func([]backend.Window) bool { return true })) == 0 {
			return backend.ErrNotFound
		}
		return h.forget(ctx, id)
	})},
	{"ResetCounts forgets keys that begin alike", "ResetCounts forgets the counts of no other key", resetWith(func(ctx context.Context, h handle, id string) error {
		for _, other := range h.dueCounts(func([]backend.Window) bool { return true }) {
			if strings.HasPrefix(other, id) {
				h.forget(ctx, other)
			}
		}
		return h.forget(ctx, id)
	})},
	{"ResetCounts deletes the record", beside, resetWith(func(ctx context.Context, h handle, id string) error {
		return errors.Join(h.forget(ctx, id), h.Delete(ctx, id))
	})},
	{"ResetCounts looks at the context too late", beforeEffect, resetWith(func(ctx context.Context, h handle, id string) error {
		return errors.Join(h.forget(context.WithoutCancel(ctx), id), ctx.Err())
	})},

	{"PurgeCounts goes by the window that ends first", endedOnly, purging(func(windows []backend.Window, now time.Time) bool {
		return slices.ContainsFunc(windows, func(w backend.Window) bool { return !w.End().After(now) })
	})},
	{"PurgeCounts goes by the window that was spent in last", endedOnly, purging(func(windows []backend.Window, now time.Time) bool {
		return !windows[len(windows)-1].End().After(now)
	})},
	{"PurgeCounts goes by the start", endedOnly, purging(func(windows []backend.Window, now time.Time) bool {
		return !slices.ContainsFunc(windows, func(w backend.Window) bool { return w.Start.After(now) })
	})},
	{"PurgeCounts is early by a millisecond", countsPurged, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeCounts(ctx, now.Add(time.Millisecond), limit)
	})},
	{"PurgeCounts is late by a millisecond", countsPurged, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeCounts(ctx, now.Add(-time.Millisecond), limit)
	})},
	{"PurgeCounts goes by its own clock", endedOnly, purgeCountsWith(func(ctx context.Context, h handle, _ time.Time, limit int) (int, error) {
		return h.PurgeCounts(ctx, time.Now(), limit)
	})},
	{"PurgeCounts never forgets", countsPurged, purging(func([]backend.Window, time.Time) bool { return false })},
	{"PurgeCounts says so and does not", countsPurged, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return min(limit, len(h.dueCounts(allEnded(now)))), ctx.Err()
	})},
	{"PurgeCounts ignores limit", countsPurged, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.PurgeCounts(ctx, now, backend.MaxLimit)
		return min(n, limit), err
	})},
	{"PurgeCounts gives up before the end", noCountsLeft, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		due := h.dueCounts(allEnded(now))
		for _, id := range due[:max(0, min(limit, len(due)-1))] {
			err = errors.Join(err, h.forget(ctx, id))
			n++
		}
		return n, err
	})},
	{"PurgeCounts counts what was reset", countsPurged, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.PurgeCounts(ctx, now, limit)
		h.side.Lock()
		defer h.side.Unlock()
		n += h.side.reset
		h.side.reset = 0
		return min(n, limit), err
	})},
	{"PurgeCounts counts what another purged", countsPurgedOnce, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		due := h.dueCounts(allEnded(now))
		yield()
		for _, id := range due[:min(limit, len(due))] {
			err = errors.Join(err, h.forget(ctx, id))
			n++
		}
		return n, err
	})},
	{"PurgeCounts ignores a spend meanwhile", spendStays, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		due := h.dueCounts(allEnded(now))
		for _, id := range due[:min(limit, len(due))] {
			if yield(); err == nil {
				err = h.forget(ctx, id)
				n++
			}
		}
		return n, err
	})},
	{"PurgeCounts takes records along", beside, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		h.Purge(ctx, now, limit)
		return h.PurgeCounts(ctx, now, limit)
	})},
	{"PurgeCounts ignores the context", `PurgeCounts returns "context deadline exceeded" if the context has ended`, purgeCountsWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.PurgeCounts(context.WithoutCancel(ctx), now, limit)
	})},
}
