package faulty

import (
	"context"
	"maps"
	"slices"
	"time"

	"example.com/keystore/backend"
)

// extend gives a wrapper the optional methods that its inner backend has, and no
// others: who asks for them by a type assertion finds what there is.
func extend(w *wrapper) Backend {
	watcher, watches := w.inner.(backend.Watcher)
	counter, counts := w.inner.(backend.Counter)
	meter, meters := w.inner.(backend.Meter)
	wa, co, me := watching{w, watcher}, counting{w, counter}, metering{w, meter}
	switch has := [...]bool{watches, counts, meters}; has {
	case [...]bool{true, true, true}:
		return struct {
			*wrapper
			watching
			counting
			metering
		}{w, wa, co, me}
	case [...]bool{true, true, false}:
		return struct {
			*wrapper
			watching
			counting
		}{w, wa, co}
	case [...]bool{true, false, true}:
		return struct {
			*wrapper
			watching
			metering
		}{w, wa, me}
	case [...]bool{false, true, true}:
		return struct {
			*wrapper
			counting
			metering
		}{w, co, me}
	case [...]bool{true, false, false}:
		return struct {
			*wrapper
			watching
		}{w, wa}
	case [...]bool{false, true, false}:
		return struct {
			*wrapper
			counting
		}{w, co}
	case [...]bool{false, false, true}:
		return struct {
			*wrapper
			metering
		}{w, me}
	}
	return w
}

type watching struct {
	wrapped *wrapper
	watcher backend.Watcher
}

func (w watching) Watch(ctx context.Context) (<-chan string, error) {
	return run(ctx, w.wrapped.fault(Watch, ""), func(ctx context.Context) (<-chan string, error) { return w.watcher.Watch(ctx) })
}

type counting struct {
	wrapped *wrapper
	counter backend.Counter
}

func (c counting) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	s.Windows = slices.Clone(s.Windows)
	return run(ctx, c.wrapped.fault(Spend, s.ID), func(ctx context.Context) (backend.Spent, error) { return c.counter.Spend(ctx, s) })
}

func (c counting) Counts(ctx context.Context, id string, windows []backend.Window) ([]int64, error) {
	windows = slices.Clone(windows)
	return run(ctx, c.wrapped.fault(Counts, id), func(ctx context.Context) ([]int64, error) { return c.counter.Counts(ctx, id, windows) })
}

func (c counting) ResetCounts(ctx context.Context, id string) error {
	return runErr(ctx, c.wrapped.fault(ResetCounts, id), func(ctx context.Context) error { return c.counter.ResetCounts(ctx, id) })
}

func (c counting) PurgeCounts(ctx context.Context, now time.Time, limit int) (int, error) {
	return run(ctx, c.wrapped.fault(PurgeCounts, ""), func(ctx context.Context) (int, error) { return c.counter.PurgeCounts(ctx, now, limit) })
}

type metering struct {
	wrapped *wrapper
	meter   backend.Meter
}

func (m metering) AddUsage(ctx context.Context, additions []backend.Addition) error {
	additions = slices.Clone(additions)
	for i := range additions {
		additions[i].Counts = maps.Clone(additions[i].Counts)
	}
	return runErr(ctx, m.wrapped.fault(AddUsage, ""), func(ctx context.Context) error { return m.meter.AddUsage(ctx, additions) })
}

func (m metering) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	return run(ctx, m.wrapped.fault(Usage, subject), func(ctx context.Context) ([]backend.Tally, error) { return m.meter.Usage(ctx, subject, from, to) })
}

func (m metering) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	return run(ctx, m.wrapped.fault(PurgeUsage, ""), func(ctx context.Context) (int, error) { return m.meter.PurgeUsage(ctx, now, limit) })
}
