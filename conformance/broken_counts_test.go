package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

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
