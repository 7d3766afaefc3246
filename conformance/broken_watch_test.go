package conformance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/keystore/backend"
)

var brokenWatches = []breakage{
	{"Watch misses Create", "Watch sends the ID of every Create", hearing(func(h handle, r backend.Record, err error) bool { return err != nil || r.Revision > 1 })},
	{"Watch misses Update", "Watch sends the ID of every Update", hearing(func(h handle, r backend.Record, err error) bool { return r.Revision < 2 })},
	{"Watch misses Delete", "Watch sends the ID of every Delete", hearing(func(h handle, r backend.Record, err error) bool {
		return err == nil || !h.side.deleted(r.ID)
	})},
	{"Watch misses Purge", "Watch sends the ID of every Purge", hearing(func(h handle, r backend.Record, err error) bool {
		return err == nil || h.side.deleted(r.ID)
	})},
	{"Watch hears one handle only", "Watch sends the ID of every Create", func(h handle) backend.Backend { return selfish{h, new(sync.Map)} }},
	{"Watch hears too late at first", "Watch sends the ID of every Create", watchWith(func(ctx context.Context, h handle) (<-chan string, error) {
		changes := make(chan string)
		go func() {
			defer close(changes)
			time.Sleep(20 * time.Millisecond)
			if sound, err := h.Watch(ctx); err == nil {
				forward(ctx, sound, changes, func(string) bool { return true })
			}
		}()
		return changes, nil
	})},
	{"Watch says so before it is so", "Watch sends the ID after a new Get shows the change", func(h handle) backend.Backend { return early{announcing{h}} }},
	{"Watch sends touches", "Touch sends nothing", func(h handle) backend.Backend { return talkative{announcing{h}} }},
	{"Watch blocks writers", "a slow reader never blocks a writer", func(h handle) backend.Backend { return blocking{h} }},
	{"Watch drops what is not read", "Watch sends the ID of every Update, if late", watchWith(func(ctx context.Context, h handle) (<-chan string, error) {
		sound, err := h.Watch(ctx)
		if err != nil {
			return nil, err
		}
		changes := make(chan string, 3)
		go func() {
			defer close(changes)
			for id := range sound {
				select {
				case changes <- id:
				default:
				}
			}
		}()
		return changes, nil
	})},
	{"Watch outlives its context", "the channel of Watch closes when the context ends", watchWith(func(ctx context.Context, h handle) (<-chan string, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return h.Watch(context.WithoutCancel(ctx))
	})},
	{"Watch outlives its backend", "the channel of Watch closes when the backend is closed", watchWith(func(ctx context.Context, h handle) (<-chan string, error) {
		if _, err := h.List(ctx, backend.ListOptions{Limit: 1}); err != nil {
			return nil, err
		}
		return h.store.Open().Watch(ctx)
	})},
	{"Watch ends with another's context", "the channel of Watch stays open", func(h handle) backend.Backend { return entangled{h} }},
}

// deleted reports whether the ID was deleted, rather than purged.
func (s *side) deleted(id string) bool {
	s.Lock()
	defer s.Unlock()
	_, ok := s.records[id]
	return ok
}

// forward sends what is wanted of from to to.
func forward(ctx context.Context, from <-chan string, to chan<- string, wanted func(id string) bool) {
	for id := range from {
		if !wanted(id) {
			continue
		}
		select {
		case to <- id:
		case <-ctx.Done():
			return
		}
	}
}

type watcher func(ctx context.Context, h handle) (<-chan string, error)

// brokenWatch also notes what is deleted.
type brokenWatch struct {
	handle
	subscribe watcher
}

func (b brokenWatch) Watch(ctx context.Context) (<-chan string, error) {
	return b.subscribe(ctx, b.handle)
}

func (b brokenWatch) Delete(ctx context.Context, id string) error {
	b.side.Lock()
	b.side.records[id] = backend.Record{}
	b.side.Unlock()
	return b.handle.Delete(ctx, id)
}

func watchWith(subscribe watcher) func(h handle) backend.Backend {
	return func(h handle) backend.Backend { return brokenWatch{h, subscribe} }
}

// hearing hears those changes only after which Get returns what is wanted.
func hearing(wanted func(h handle, r backend.Record, err error) bool) func(h handle) backend.Backend {
	return watchWith(func(ctx context.Context, h handle) (<-chan string, error) {
		return hear(ctx, h, func(id string) bool {
			r, err := h.store.Open().Get(context.Background(), id)
			r.ID = id
			return wanted(h, r, err)
		})
	})
}

func hear(ctx context.Context, h handle, wanted func(id string) bool) (<-chan string, error) {
	sound, err := h.Watch(ctx)
	if err != nil {
		return nil, err
	}
	changes := make(chan string)
	go func() {
		defer close(changes)
		forward(ctx, sound, changes, wanted)
	}()
	return changes, nil
}

// selfish hears what was created through itself.
type selfish struct {
	handle
	own *sync.Map
}

func (b selfish) Create(ctx context.Context, r backend.Record) error {
	b.own.Store(r.ID, true)
	return b.handle.Create(ctx, r)
}

func (b selfish) Watch(ctx context.Context) (<-chan string, error) {
	return hear(ctx, b.handle, func(id string) bool {
		_, ok := b.own.Load(id)
		return ok
	})
}

// announcing is a sound backend that announces changes by itself.
type announcing struct{ handle }

func (b announcing) Watch(ctx context.Context) (<-chan string, error) {
	if _, err := b.List(ctx, backend.ListOptions{Limit: 1}); err != nil {
		return nil, err
	}
	ended, end := context.WithCancel(ctx)
	sound, err := b.handle.Watch(ctx) // for its end
	go func() {
		defer end()
		for range sound {
		}
	}()
	return b.side.hub.Watch(ended, nil), err
}

func (b announcing) announce(id string, err error) error {
	if err == nil {
		b.side.hub.Notify(id)
	}
	return err
}

func (b announcing) Create(ctx context.Context, r backend.Record) error {
	return b.announce(r.ID, b.handle.Create(ctx, r))
}

func (b announcing) Update(ctx context.Context, r backend.Record) error {
	return b.announce(r.ID, b.handle.Update(ctx, r))
}

func (b announcing) Delete(ctx context.Context, id string) error {
	return b.announce(id, b.handle.Delete(ctx, id))
}

func (b announcing) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	due := b.due(now)
	n, err := b.handle.Purge(ctx, now, limit)
	for _, r := range due {
		b.announce(r.ID, err)
	}
	return n, err
}

// early announces an Update that is yet to come.
type early struct{ announcing }

func (b early) Update(ctx context.Context, r backend.Record) error {
	b.side.hub.Notify(r.ID)
	time.Sleep(time.Millisecond)
	return b.handle.Update(ctx, r)
}

type talkative struct{ announcing }

func (b talkative) Touch(ctx context.Context, used map[string]time.Time) error {
	err := b.handle.Touch(ctx, used)
	for id := range used {
		b.announce(id, err)
	}
	return err
}

// blocking sends to its readers what it updates, and waits for them.
type blocking struct{ handle }

func (b blocking) Watch(ctx context.Context) (<-chan string, error) {
	if _, err := b.List(ctx, backend.ListOptions{Limit: 1}); err != nil {
		return nil, err
	}
	b.side.Lock()
	defer b.side.Unlock()
	changes := make(chan string, 100)
	b.side.readers = append(b.side.readers, changes)
	return changes, nil
}

func (b blocking) Update(ctx context.Context, r backend.Record) error {
	err := b.handle.Update(ctx, r)
	b.side.Lock()
	readers := slices.Clone(b.side.readers)
	b.side.Unlock()
	for _, changes := range readers {
		select {
		case changes <- r.ID:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
	return err
}

// entangled handles end all their readers with the first.
type entangled struct{ handle }

func (b entangled) Watch(ctx context.Context) (<-chan string, error) {
	b.side.Lock()
	defer b.side.Unlock()
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	b.side.ends = append(b.side.ends, end)
	ends := slices.Clone(b.side.ends) // the others first, so that it shows once this one has ended
	context.AfterFunc(ctx, func() {
		for _, end := range ends {
			end()
		}
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return b.handle.Watch(own)
}
