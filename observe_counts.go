package keystore

import (
	"context"
	"time"

	"example.com/keystore/backend"
)

// observedCounts is a backend.Counter of which the observer sees every call.
type observedCounts struct {
	counter backend.Counter
	b       observedBackend
}

func (c *observedCounts) Spend(ctx context.Context, s backend.Spend) (spent backend.Spent, err error) {
	err = c.b.call(ctx, "spend", s.ID, func(ctx context.Context) error {
		spent, err = c.counter.Spend(ctx, s)
		return err
	})
	return spent, err
}

func (c *observedCounts) Counts(ctx context.Context, id string, windows []backend.Window) (counts []int64, err error) {
	err = c.b.call(ctx, "counts", id, func(ctx context.Context) error {
		counts, err = c.counter.Counts(ctx, id, windows)
		return err
	})
	return counts, err
}

func (c *observedCounts) ResetCounts(ctx context.Context, id string) error {
	return c.b.call(ctx, "reset_counts", id, func(ctx context.Context) error { return c.counter.ResetCounts(ctx, id) })
}

func (c *observedCounts) PurgeCounts(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = c.b.call(ctx, "purge_counts", "", func(ctx context.Context) error {
		n, err = c.counter.PurgeCounts(ctx, now, limit)
		return err
	})
	return n, err
}

// observedUsage is a backend.Meter of which the observer sees every call.
type observedUsage struct {
	meter backend.Meter
	b     observedBackend
}

func (m *observedUsage) AddUsage(ctx context.Context, additions []backend.Addition) error {
	return m.b.call(ctx, "add_usage", "", func(ctx context.Context) error { return m.meter.AddUsage(ctx, additions) })
}

func (m *observedUsage) Usage(ctx context.Context, subject string, from, to time.Time) (tallies []backend.Tally, err error) {
	err = m.b.call(ctx, "usage", "", func(ctx context.Context) error {
		tallies, err = m.meter.Usage(ctx, subject, from, to)
		return err
	})
	return tallies, err
}

func (m *observedUsage) PurgeUsage(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = m.b.call(ctx, "purge_usage", "", func(ctx context.Context) error {
		n, err = m.meter.PurgeUsage(ctx, now, limit)
		return err
	})
	return n, err
}
