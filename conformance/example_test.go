package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
)

// shelf is a handle to a store of one's own: a map under a lock, which the other
// handles share. It has no Watch.
type shelf struct {
	mu     *sync.Mutex
	byID   map[string]backend.Record
	closed bool
}

// do calls f with the lock held, unless the call may not begin.
func (s *shelf) do(ctx context.Context, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return backend.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return f()
}

// write stores r over the old record with the revision before. It is nothing new
// if r is what is stored: then this is the same write once more.
func (s *shelf) write(r, old backend.Record, refusal error) error {
	same := old.Owner == r.Owner && bytes.Equal(old.Data, r.Data) && old.PurgeAt.Equal(r.PurgeAt)
	switch {
	case old.Revision+1 == r.Revision:
		s.byID[r.ID] = owned(r)
	case old.Revision != r.Revision || !same:
		return refusal
	}
	return nil
}

func owned(r backend.Record) backend.Record {
	r.Data = bytes.Clone(r.Data)
	return r
}

func (s *shelf) Create(ctx context.Context, r backend.Record) error {
	r.Revision, r.LastUsed = 1, time.Time{}
	return s.do(ctx, func() error { return s.write(r, s.byID[r.ID], backend.ErrExists) })
}

func (s *shelf) Update(ctx context.Context, r backend.Record) error {
	return s.do(ctx, func() error {
		old, ok := s.byID[r.ID]
		if !ok { // and nothing repeats this call unseen
			return errors.Join(backend.ErrNotFound, backend.ErrNotApplied)
		}
		r.Owner, r.LastUsed, r.Revision = old.Owner, old.LastUsed, r.Revision+1
		return s.write(r, old, errors.Join(backend.ErrConflict, backend.ErrNotApplied))
	})
}

func (s *shelf) Get(ctx context.Context, id string) (r backend.Record, err error) {
	err = s.do(ctx, func() error {
		found, ok := s.byID[id]
		if !ok {
			return backend.ErrNotFound
		}
		r = owned(found)
		return nil
	})
	return r, err
}

func (s *shelf) Delete(ctx context.Context, id string) error {
	return s.do(ctx, func() error { delete(s.byID, id); return nil })
}

func (s *shelf) List(ctx context.Context, o backend.ListOptions) (page []backend.Record, err error) {
	err = s.do(ctx, func() error {
		for _, id := range slices.Sorted(maps.Keys(s.byID)) {
			r := s.byID[id]
			if len(page) < o.Limit && id > o.After && (o.Owner == "" || r.Owner == o.Owner) {
				page = append(page, owned(r))
			}
		}
		return nil
	})
	return page, err
}

func (s *shelf) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.do(ctx, func() error {
		for id, at := range used {
			if r, ok := s.byID[id]; ok && at.After(r.LastUsed) {
				r.LastUsed = at
				s.byID[id] = r
			}
		}
		return nil
	})
}

func (s *shelf) Purge(ctx context.Context, now time.Time, limit int) (n int, err error) {
	err = s.do(ctx, func() error {
		for id, r := range s.byID {
			if n < limit && !r.PurgeAt.IsZero() && !r.PurgeAt.After(now) {
				delete(s.byID, id)
				n++
			}
		}
		return nil
	})
	return n, err
}

func (s *shelf) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return nil
}

// testShelf is what the TestConformance of a driver is like.
func testShelf(t *testing.T) {
	stores := make(map[string]shelf)
	conformance.Run(t, func(_ testing.TB, name string) backend.Backend {
		if _, ok := stores[name]; !ok {
			stores[name] = shelf{mu: new(sync.Mutex), byID: make(map[string]backend.Record)}
		}
		handle := stores[name]
		return &handle
	})
}

// A driver's test hands Run a function that opens the driver. This one, of fewer
// than 100 lines of code, is a map under a lock.
func ExampleRun() {
	var t *testing.T // is the argument of a test
	testShelf(t)
}
