package conformance

import (
	"bytes"
	"context"
	"errors"
	"time"

	"example.com/keystore/backend"
)

var brokenWrites = []breakage{
	{"Create overwrites", taken, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Create(ctx, r)
		for errors.Is(err, backend.ErrExists) {
			h.Delete(ctx, r.ID)
			err = h.Create(ctx, r)
		}
		return err
	})},
	{"Create checks, then inserts", "of several Creates of one ID exactly one succeeds", createWith(func(ctx context.Context, h handle, r backend.Record) error {
		if _, err := h.Get(ctx, r.ID); !errors.Is(err, backend.ErrNotFound) {
			return h.Create(ctx, r)
		}
		yield()
		err := h.Create(ctx, r)
		for errors.Is(err, backend.ErrExists) {
			h.Delete(ctx, r.ID)
			err = h.Create(ctx, r)
		}
		return err
	})},
	{"Create keeps Revision", createsFresh, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Create(ctx, r)
		for n := uint64(1); err == nil && n < r.Revision; n++ {
			err = h.Update(ctx, backend.Record{ID: r.ID, Data: r.Data, PurgeAt: r.PurgeAt, Revision: n})
		}
		return err
	})},
	{"Create keeps LastUsed", createsFresh, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		return errors.Join(h.Create(ctx, r), h.Touch(ctx, map[string]time.Time{r.ID: r.LastUsed}))
	})},
	{"Create fails when repeated", createRepeats, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		if _, err := h.Get(ctx, r.ID); err == nil {
			return backend.ErrExists
		}
		return h.Create(ctx, r)
	})},
	{"Create begins anew when repeated", repeatIsIdle, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Create(ctx, r)
		if err == nil {
			h.Delete(ctx, r.ID)
			err = h.Create(ctx, r)
		}
		return err
	})},
	{"Create takes another owner's for a repeat", taken, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err == nil && sameContent(old, r) {
			return nil
		}
		return h.Create(ctx, r)
	})},
	{"Create calls it a conflict", taken, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Create(ctx, r)
		if errors.Is(err, backend.ErrExists) {
			return backend.ErrConflict
		}
		return err
	})},
	{"Update ignores the revision", conflict, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		return h.force(ctx, r)
	})},
	{"Update loses updates", "of several Updates on one revision exactly one succeeds", updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err != nil || old.Revision != r.Revision {
			return h.Update(ctx, r)
		}
		yield()
		return h.force(ctx, r)
	})},
	{"Update creates", updateMissing, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Update(ctx, r)
		if errors.Is(err, backend.ErrNotFound) {
			return h.Create(ctx, r)
		}
		return err
	})},
	{"Update revives what is deleted meanwhile", noRevival, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		old, err := h.Get(ctx, r.ID)
		if err != nil {
			return err
		}
		yield()
		err = h.Update(ctx, r)
		if errors.Is(err, backend.ErrNotFound) {
			r.Owner = old.Owner
			return h.Create(ctx, r)
		}
		return err
	})},
	{"Update fails when repeated", updateRepeats, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err == nil && old.Revision != r.Revision {
			return backend.ErrConflict
		}
		return h.Update(ctx, r)
	})},
	{"Update counts when repeated", repeatIsIdle, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		old, _ := h.Get(ctx, r.ID)
		err := h.Update(ctx, r)
		if err == nil && old.Revision == r.Revision+1 {
			return h.force(ctx, r)
		}
		return err
	})},
	{"Update takes another PurgeAt for a repeat", conflict, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err == nil && old.Revision == r.Revision+1 && bytes.Equal(old.Data, r.Data) {
			return nil
		}
		return h.Update(ctx, r)
	})},
	{"Update takes what is overtaken for a repeat", conflict, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err == nil && old.Revision > r.Revision && sameContent(old, r) {
			return nil
		}
		return h.Update(ctx, r)
	})},
	{"Update calls a missing record a conflict", updateMissing, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Update(ctx, r)
		if errors.Is(err, backend.ErrNotFound) {
			return backend.ErrConflict
		}
		return err
	})},
	{"Update returns two answers", conflict, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		err := h.Update(ctx, r)
		if errors.Is(err, backend.ErrConflict) {
			return errors.Join(err, backend.ErrNotFound)
		}
		return err
	})},
	{"Update leaves PurgeAt", replaces, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if old, err := h.Get(ctx, r.ID); err == nil {
			r.PurgeAt = old.PurgeAt
		}
		return h.Update(ctx, r)
	})},
	{"Update moves to another owner", ignores, obeying(func(r *backend.Record, given backend.Record) { r.Owner = given.Owner })},
	{"Update sets LastUsed", ignores, obeying(func(r *backend.Record, given backend.Record) { r.LastUsed = given.LastUsed })},
}

func sameContent(a, b backend.Record) bool {
	return bytes.Equal(a.Data, b.Data) && a.PurgeAt.Equal(b.PurgeAt)
}

// force writes r over whatever revision there is.
func (h handle) force(ctx context.Context, r backend.Record) error {
	for {
		old, err := h.Get(ctx, r.ID)
		if err != nil {
			return err
		}
		r.Revision = old.Revision
		if err := h.Update(ctx, r); !errors.Is(err, backend.ErrConflict) {
			return err
		}
	}
}

type write func(ctx context.Context, h handle, r backend.Record) error

type brokenCreate struct {
	handle
	create write
}

func (b brokenCreate) Create(ctx context.Context, r backend.Record) error {
	return b.create(ctx, b.handle, r)
}

func createWith(create write) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenCreate{h, create} }
}

type brokenUpdate struct {
	handle
	update write
}

func (b brokenUpdate) Update(ctx context.Context, r backend.Record) error {
	return b.update(ctx, b.handle, r)
}

func updateWith(update write) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenUpdate{h, update} }
}

// obedient takes from the last Update what it should ignore.
type obedient struct{ altered }

func obeying(take func(r *backend.Record, given backend.Record)) func(h handle) backend.Backend {
	return func(h handle) backend.Backend {
		return obedient{altered{h, func(r *backend.Record) {
			h.side.Lock()
			defer h.side.Unlock()
			if given, ok := h.side.records[r.ID]; ok {
				take(r, given)
			}
		}}}
	}
}

func (b obedient) Update(ctx context.Context, r backend.Record) error {
	b.side.Lock()
	defer b.side.Unlock()
	err := b.handle.Update(ctx, r)
	if err == nil {
		b.side.records[r.ID] = r
	}
	return err
}
