package socket

import (
	"context"
	"maps"
	"slices"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Create implements [backend.Backend].
func (c *client) Create(ctx context.Context, r backend.Record) error {
	return c.write(ctx, "/v1/create", r)
}

// Update implements [backend.Backend].
func (c *client) Update(ctx context.Context, r backend.Record) error {
	return c.write(ctx, "/v1/update", r)
}

func (c *client) write(ctx context.Context, path string, r backend.Record) error {
	sent, err := recordOf(r)
	if err != nil {
		return notApplied{err}
	}
	_, err = call[none](ctx, c, path, sent)
	return err
}

// Get implements [backend.Backend].
func (c *client) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := call[record](ctx, c, "/v1/get", id)
	if err != nil {
		return backend.Record{}, err
	}
	return r.backend(), nil
}

// Delete implements [backend.Backend].
func (c *client) Delete(ctx context.Context, id string) error {
	_, err := call[none](ctx, c, "/v1/delete", id)
	return err
}

// List implements [backend.Backend].
func (c *client) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	page, err := call[[]record](ctx, c, "/v1/list", list{Owner: o.Owner, After: o.After, Limit: o.Limit})
	if err != nil {
		return nil, err
	}
	records := make([]backend.Record, len(page))
	for i := range page {
		records[i] = page[i].backend()
	}
	return records, nil
}

// Touch implements [backend.Backend], in chunks of 1000.
func (c *client) Touch(ctx context.Context, used map[string]time.Time) error {
	times, err := timesOf(used)
	if err != nil {
		return notApplied{err}
	}
	ids := slices.Collect(maps.Keys(times))
	for first := true; first || len(ids) > 0; first = false { // one call at least, which may say that it is closed
		part := make(map[string]envelope.Time)
		for _, id := range ids[:min(len(ids), chunkOfTouch)] {
			part[id] = times[id]
		}
		ids = ids[len(part):]
		_, err := call[none](ctx, c, "/v1/touch", part)
		switch {
		case err != nil && first:
			return err
		case err != nil:
			return partial{err}
		}
	}
	return nil
}

// Purge implements [backend.Backend].
func (c *client) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	return c.purge(ctx, "/v1/purge", now, limit)
}

func (c *client) purge(ctx context.Context, path string, now time.Time, limit int) (int, error) {
	t, err := envelope.TimeOf(now)
	if err != nil {
		return 0, notApplied{err}
	}
	return call[int](ctx, c, path, purge{Now: t, Limit: limit})
}
