package conformance

import (
	"context"
	"errors"
	"maps"
	"time"

	"example.com/keystore/backend"
)

// brokenUpkeep are breakages of Touch, Purge and Delete.
var brokenUpkeep = []breakage{
	{"Touch brings back what is deleted meanwhile", noReturn, touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		r, err := h.Get(ctx, id)
		if err != nil {
			return nil
		}
		yield()
		h.Touch(ctx, map[string]time.Time{id: at})
		return h.Create(ctx, r) // a write of the whole record, like ErrExists if it is there
	})},
	{"Touch creates", "Touch skips unknown IDs and creates nothing", touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		if _, err := h.Get(ctx, id); errors.Is(err, backend.ErrNotFound) {
			h.Create(ctx, backend.Record{ID: id})
		}
		return h.Touch(ctx, map[string]time.Time{id: at})
	})},
	{"Touch fails for unknown IDs", "Touch returns nil", touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		if _, err := h.Get(ctx, id); err != nil {
			return err
		}
		return h.Touch(ctx, map[string]time.Time{id: at})
	})},
	{"Touch bumps the revision", "Touch leaves the revision alone", touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		if r, err := h.Get(ctx, id); err == nil {
			h.force(ctx, r)
		}
		return h.Touch(ctx, map[string]time.Time{id: at})
	})},
	{"Touch moves PurgeAt", "Touch changes nothing but LastUsed", touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		if r, err := h.Get(ctx, id); err == nil {
			h.Delete(ctx, id)
			r.PurgeAt = at
			h.Create(ctx, r)
		}
		return h.Touch(ctx, map[string]time.Time{id: at})
	})},
	{"Touch gives way to Update", bothTakeEffect, touchWith(func(ctx context.Context, h handle, id string, at time.Time) error {
		before, _ := h.Get(ctx, id)
		yield()
		if r, _ := h.Get(ctx, id); r.Revision != before.Revision {
			return nil
		}
		return h.Touch(ctx, map[string]time.Time{id: at})
	})},
	{"Touch lowers", "Touch never lowers LastUsed", func(h handle) backend.Backend { return newLowering(h) }},
	{"Touch empties the map", "a backend does not modify memory that it is given", func(h handle) backend.Backend { return emptyingTouch{h} }},

	{"Purge ignores an extension meanwhile", beforeOrStays, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (n int, err error) {
		for _, r := range h.due(now) {
			if yield(); n < limit {
				if _, err := h.Get(ctx, r.ID); err == nil {
					h.Delete(ctx, r.ID)
					n++
				}
			}
		}
		return n, ctx.Err()
	})},
	{"Purge counts what another purged", countOnce, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		due := h.due(now)
		due = due[:min(len(due), limit)]
		yield()
		for _, r := range due {
			h.Delete(ctx, r.ID)
		}
		return len(due), ctx.Err()
	})},
	{"Purge ignores limit", "Purge deletes at most limit records", purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.Purge(ctx, now, backend.MaxLimit)
		return min(n, limit), err
	})},
	{"Purge gives up before the end", noneLeft, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		if len(h.due(now)) < 2 {
			return 0, ctx.Err()
		}
		return h.Purge(ctx, now, limit)
	})},
	{"Purge is late by a millisecond", dueOnly, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.Purge(ctx, now.Add(-time.Millisecond), limit)
	})},
	{"Purge is early by a millisecond", dueOnly, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		return h.Purge(ctx, now.Add(time.Millisecond), limit)
	})},
	{"Purge goes by its own clock", dueOnly, purgeWith(func(ctx context.Context, h handle, _ time.Time, limit int) (int, error) {
		return h.Purge(ctx, time.Now(), limit)
	})},
	{"Purge takes never for long ago", dueOnly, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.Purge(ctx, now, limit)
		for _, r := range h.everything() {
			if r.PurgeAt.IsZero() && n < limit && err == nil {
				h.Delete(ctx, r.ID)
				n++
			}
		}
		return n, err
	})},
	{"Purge goes by the first PurgeAt", "Purge goes by the PurgeAt that the last Update set", func(h handle) backend.Backend { return firstPurgeAt{h} }},
	{"Purge forgets to count", counts, purgeWith(func(ctx context.Context, h handle, now time.Time, limit int) (int, error) {
		n, err := h.Purge(ctx, now, limit)
		return min(n, 1), err
	})},
	{"Purge leaves the owner's list", "a purged record is gone", func(h handle) backend.Backend { return ghosts{h} }},

	{"Delete fails if there is none", deleteMissing, deleteWith(func(ctx context.Context, h handle, id string) error {
		_, err := h.Get(ctx, id)
		return errors.Join(err, h.Delete(ctx, id))
	})},
	{"Delete remembers the revision", anew, func(h handle) backend.Backend { return remembering{h} }},
}

// brokenTouch touches one ID after the other.
type brokenTouch struct {
	handle
	touch func(ctx context.Context, h handle, id string, at time.Time) error
}

func (b brokenTouch) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := b.handle.Touch(ctx, nil); err != nil {
		return err
	}
	for id, at := range used {
		if err := b.touch(ctx, b.handle, id, at); err != nil && !errors.Is(err, backend.ErrExists) {
			return err
		}
	}
	return nil
}

func touchWith(touch func(ctx context.Context, h handle, id string, at time.Time) error) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenTouch{h, touch} }
}

// lowering keeps the last time that Touch was given, in place of the latest.
type lowering struct{ altered }

func newLowering(h handle) lowering {
	return lowering{altered{h, func(r *backend.Record) {
		h.side.Lock()
		defer h.side.Unlock()
		r.LastUsed = h.side.records[r.ID].LastUsed
	}}}
}

func (b lowering) Touch(ctx context.Context, used map[string]time.Time) error {
	b.side.Lock()
	defer b.side.Unlock()
	for id, at := range used {
		b.side.records[id] = backend.Record{LastUsed: at}
	}
	return b.handle.Touch(ctx, used)
}

type emptyingTouch struct{ handle }

func (b emptyingTouch) Touch(ctx context.Context, used map[string]time.Time) error {
	defer clear(used)
	return b.handle.Touch(ctx, maps.Clone(used))
}

type brokenPurge struct {
	handle
	purge func(ctx context.Context, h handle, now time.Time, limit int) (int, error)
}

func (b brokenPurge) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purge(ctx, b.handle, now, limit)
}

func purgeWith(purge func(ctx context.Context, h handle, now time.Time, limit int) (int, error)) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenPurge{h, purge} }
}

// firstPurgeAt keeps the schedule that Create made.
type firstPurgeAt struct{ handle }

func (b firstPurgeAt) Create(ctx context.Context, r backend.Record) error {
	b.side.Lock()
	defer b.side.Unlock()
	if _, ok := b.side.records[r.ID]; !ok {
		b.side.records[r.ID] = backend.Record{PurgeAt: r.PurgeAt}
	}
	return b.handle.Create(ctx, r)
}

func (b firstPurgeAt) Purge(ctx context.Context, now time.Time, limit int) (n int, err error) {
	b.side.Lock()
	defer b.side.Unlock()
	for _, r := range b.everything() {
		if at := b.side.records[r.ID].PurgeAt; !at.IsZero() && !at.After(now) && n < limit && err == nil {
			err = b.Delete(ctx, r.ID)
			n++
		}
	}
	return n, err
}

// ghosts lists what is purged to its owner.
type ghosts struct{ handle }

func (b ghosts) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	b.side.Lock()
	defer b.side.Unlock()
	for _, r := range b.due(now) {
		b.side.records[r.ID] = r
	}
	return b.handle.Purge(ctx, now, limit)
}

func (b ghosts) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	page, err := b.handle.List(ctx, o)
	b.side.Lock()
	defer b.side.Unlock()
	for id, r := range b.side.records {
		if len(page) == 0 && err == nil && r.Owner == o.Owner && id > o.After {
			page = append(page, r)
		}
	}
	return page, err
}

type brokenDelete struct {
	handle
	remove func(ctx context.Context, h handle, id string) error
}

func (b brokenDelete) Delete(ctx context.Context, id string) error {
	return b.remove(ctx, b.handle, id)
}

func deleteWith(remove func(ctx context.Context, h handle, id string) error) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenDelete{h, remove} }
}

// remembering goes on counting where the deleted record ended.
type remembering struct{ handle }

func (b remembering) Delete(ctx context.Context, id string) error {
	b.side.Lock()
	defer b.side.Unlock()
	if old, err := b.Get(ctx, id); err == nil {
		b.side.records[id] = old
	}
	return b.handle.Delete(ctx, id)
}

func (b remembering) Create(ctx context.Context, r backend.Record) error {
	err := b.handle.Create(ctx, r)
	b.side.Lock()
	defer b.side.Unlock()
	if b.side.records[r.ID].Revision > 0 && err == nil {
		err = b.force(ctx, r)
		delete(b.side.records, r.ID)
	}
	return err
}
