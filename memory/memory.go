// Package memory keeps keys in the memory of the process: the reference driver,
// and the backend for tests of programs that use keystore. Everything is lost
// when the [Store] is.
//
// Importing the package registers the URL scheme "memory": "memory://" opens a
// new, empty store.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/internal/hub"
)

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Watcher = (*Backend)(nil)
)

// These are certain: between caller and store nothing repeats a write.
var (
	errConflict = fmt.Errorf("%w: %w", backend.ErrConflict, backend.ErrNotApplied)
	errGone     = fmt.Errorf("%w: %w", backend.ErrNotFound, backend.ErrNotApplied)
)

// Store holds the records that the handles opened from it share, and what is
// counted beside them. The zero value
// is an empty store. It is safe for concurrent use.
type Store struct {
	mu      sync.RWMutex
	records map[string]backend.Record
	ids     []string // the keys of records, in byte order
	changes hub.Hub

	counters counters
	tallies  tallies
}

// Backend is one handle on a Store. It is safe for concurrent use.
type Backend struct {
	store     *Store
	closeOnce sync.Once
	closed    chan struct{}
}

// New opens the only handle on a new, empty store.
func New() *Backend { return new(Store).Open() }

// Open opens a handle on the store. Closing the handle leaves the records be.
func (s *Store) Open() *Backend {
	return &Backend{store: s, closed: make(chan struct{})}
}

// ready returns why a call may not begin, if it may not.
func (b *Backend) ready(ctx context.Context) error {
	select {
	case <-b.closed:
		return backend.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %w: %w", err, backend.ErrNotApplied)
	}
	return nil
}

// Create implements [backend.Backend].
func (b *Backend) Create(ctx context.Context, r backend.Record) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.records[r.ID]; ok {
		if old.Revision == 1 && old.Owner == r.Owner && sameContent(old, r) {
			return nil
		}
		return backend.ErrExists
	}
	r.Revision, r.LastUsed = 1, time.Time{}
	s.put(r)
	at, _ := slices.BinarySearch(s.ids, r.ID)
	s.ids = slices.Insert(s.ids, at, r.ID)
	s.changes.Notify(r.ID)
	return nil
}

// Get implements [backend.Backend].
func (b *Backend) Get(ctx context.Context, id string) (backend.Record, error) {
	if err := b.ready(ctx); err != nil {
		return backend.Record{}, err
	}
	b.store.mu.RLock()
	defer b.store.mu.RUnlock()
	r, ok := b.store.records[id]
	if !ok {
		return backend.Record{}, backend.ErrNotFound
	}
	return clone(r), nil
}

// Update implements [backend.Backend].
func (b *Backend) Update(ctx context.Context, r backend.Record) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.records[r.ID]
	switch {
	case !ok:
		return errGone
	case old.Revision == r.Revision+1 && sameContent(old, r):
		return nil
	case old.Revision != r.Revision:
		return errConflict
	}
	old.Data, old.PurgeAt, old.Revision = r.Data, r.PurgeAt, old.Revision+1
	s.put(old)
	s.changes.Notify(r.ID)
	return nil
}

// Delete implements [backend.Backend].
func (b *Backend) Delete(ctx context.Context, id string) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.remove(id)
	return nil
}

// List implements [backend.Backend].
func (b *Backend) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	s := b.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, found := slices.BinarySearch(s.ids, o.After)
	if found {
		at++
	}
	var page []backend.Record
	for _, id := range s.ids[at:] {
		if len(page) == o.Limit {
			break
		}
		if r := s.records[id]; o.Owner == "" || r.Owner == o.Owner {
			page = append(page, clone(r))
		}
	}
	return page, nil
}

// Touch implements [backend.Backend].
func (b *Backend) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for id, at := range used {
		if r, ok := b.store.records[id]; ok && at.After(r.LastUsed) {
			r.LastUsed = at
			b.store.records[id] = r
		}
	}
	return nil
}

// Purge implements [backend.Backend].
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := b.ready(ctx); err != nil {
		return 0, err
	}
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	purged := 0
	for _, id := range slices.Clone(s.ids) {
		if purged == limit {
			break
		}
		if at := s.records[id].PurgeAt; !at.IsZero() && !at.After(now) {
			s.remove(id)
			purged++
		}
	}
	return purged, nil
}

// Watch implements [backend.Watcher].
func (b *Backend) Watch(ctx context.Context) (<-chan string, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	return b.store.changes.Watch(ctx, b.closed), nil
}

// Close closes the handle; the store and its other handles go on.
func (b *Backend) Close() error {
	b.closeOnce.Do(func() { close(b.closed) })
	return nil
}

// put stores a copy of r; the caller holds the lock.
func (s *Store) put(r backend.Record) {
	if s.records == nil {
		s.records = make(map[string]backend.Record)
	}
	s.records[r.ID] = clone(r)
}

// remove forgets a record, if there is one; the caller holds the lock.
func (s *Store) remove(id string) {
	if _, ok := s.records[id]; !ok {
		return
	}
	delete(s.records, id)
	at, _ := slices.BinarySearch(s.ids, id)
	s.ids = slices.Delete(s.ids, at, at+1)
	s.changes.Notify(id)
}

func clone(r backend.Record) backend.Record {
	r.Data = bytes.Clone(r.Data)
	return r
}

// sameContent reports whether a and b are the same write.
func sameContent(a, b backend.Record) bool {
	return bytes.Equal(a.Data, b.Data) && a.PurgeAt.Equal(b.PurgeAt)
}
