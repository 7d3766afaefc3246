package conformance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// brokenLives are breakages of opening, of closing and of contexts.
var brokenLives = []breakage{
	{"names are cut", "stores of other names have other records", func(h handle) backend.Backend {
		store, _ := cutNames.LoadOrStore(h.name[:16], h.store)
		h.Backend = store.(*memory.Store).Open()
		return h
	}},
	{"Close loses the records", survives, closeWith(func(h handle, last bool) error {
		for _, r := range h.everything() {
			if last {
				h.Delete(context.Background(), r.ID)
			}
		}
		return h.Close()
	})},
	{"Close loses LastUsed", survives, func(h handle) backend.Backend { return newUnflushed(h) }},
	{"Close closes the other handles", othersWork, func(h handle) backend.Backend { return jointlyClosed{h} }},
	{"Close does not close", "after Close Get returns ErrClosed", closeWith(func(handle, bool) error { return nil })},
	{"Close fails the second time", "Close returns nil, a second time too", closeWith(func(h handle, _ bool) error {
		_, err := h.Get(context.Background(), "any")
		h.Close()
		if errors.Is(err, backend.ErrClosed) {
			return err
		}
		return nil
	})},
	{"Touch goes on after Close", "after Close Touch returns ErrClosed", func(h handle) backend.Backend { return tireless{h} }},
	{"Create ignores the context", `Create returns "context canceled" if the context has ended`, createWith(func(ctx context.Context, h handle, r backend.Record) error {
		return h.Create(context.WithoutCancel(ctx), r)
	})},
	{"Delete looks at the context too late", beforeEffect, deleteWith(func(ctx context.Context, h handle, id string) error {
		if err := h.Delete(context.WithoutCancel(ctx), id); err != nil {
			return err
		}
		return ctx.Err()
	})},
	{"Get finds nothing when the context has ended", `Get returns "context deadline exceeded" if the context has ended`, getWith(func(_ handle, r backend.Record, err error) (backend.Record, error) {
		if errors.Is(err, context.DeadlineExceeded) {
			err = backend.ErrNotFound
		}
		return r, err
	})},
	{"Update knows what it cannot know", honestOutcome, updateWith(func(ctx context.Context, h handle, r backend.Record) error {
		if err := h.Update(ctx, r); err != nil {
			return err
		}
		if yield(); ctx.Err() != nil {
			return errors.Join(backend.ErrNotApplied, ctx.Err())
		}
		return nil
	})},
}

var cutNames sync.Map // of the stores by the first characters of their names

// brokenClose tells end whether it is the last handle that closes.
type brokenClose struct {
	handle
	end    func(h handle, last bool) error
	closed *atomic.Bool
}

func (b brokenClose) Close() error {
	last := false
	if b.closed.CompareAndSwap(false, true) {
		b.side.Lock()
		b.side.handles--
		last = b.side.handles == 0
		b.side.Unlock()
	}
	return b.end(b.handle, last)
}

func closeWith(end func(h handle, last bool) error) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenClose{h, end, new(atomic.Bool)} }
}

// unflushed keeps LastUsed beside the records, and forgets it at Close.
type unflushed struct{ altered }

func newUnflushed(h handle) unflushed {
	return unflushed{altered{h, func(r *backend.Record) {
		h.side.Lock()
		defer h.side.Unlock()
		r.LastUsed = h.side.records[r.ID].LastUsed
	}}}
}

func (b unflushed) Touch(ctx context.Context, used map[string]time.Time) error {
	b.side.Lock()
	defer b.side.Unlock()
	for id, at := range used {
		if at.After(b.side.records[id].LastUsed) {
			b.side.records[id] = backend.Record{LastUsed: at}
		}
	}
	return b.handle.Touch(ctx, nil)
}

func (b unflushed) Close() error {
	b.side.Lock()
	defer b.side.Unlock()
	clear(b.side.records)
	return b.handle.Close()
}

// jointlyClosed handles end with the first of them.
type jointlyClosed struct{ handle }

func (b jointlyClosed) Get(ctx context.Context, id string) (backend.Record, error) {
	b.side.Lock()
	defer b.side.Unlock()
	if b.side.closed {
		return backend.Record{}, backend.ErrClosed
	}
	return b.handle.Get(ctx, id)
}

func (b jointlyClosed) Close() error {
	b.side.Lock()
	defer b.side.Unlock()
	b.side.closed = true
	return b.handle.Close()
}

type tireless struct{ handle }

func (b tireless) Touch(ctx context.Context, used map[string]time.Time) error {
	err := b.handle.Touch(ctx, used)
	if errors.Is(err, backend.ErrClosed) {
		return nil
	}
	return err
}
