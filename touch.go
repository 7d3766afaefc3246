package keystore

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	maxNotes   = 100_000         // ids that wait for the next flush; notes of further ones are dropped
	touchBatch = 1000            // ids per backend call, each with a timeout of its own
	closeBound = 2 * time.Second // of the last flush, where OpTimeout is Never
)

// touchNotes collects when keys were last used, until they are written all at
// once. A note costs the lookup a map write, and never waits for the backend.
type touchNotes struct {
	on bool

	mu      sync.Mutex
	used    map[string]time.Time
	ended   bool
	dropped int // notes that were lost, over the life of the Keystore
}

// note remembers that a key was used. A key that waits already is raised in
// place, so the bound is one on the number of keys.
func (s *Keystore) note(id string, now time.Time) {
	if !s.notes.on || !inRange(now) {
		return
	}
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	s.notes.raise(id, now)
}

// raise keeps the later of two times; the caller holds the lock.
func (n *touchNotes) raise(id string, at time.Time) {
	old, waits := n.used[id]
	switch {
	case n.ended, !waits && len(n.used) >= maxNotes:
		n.dropped++
		return
	case waits && !at.After(old):
		return
	case n.used == nil:
		n.used = make(map[string]time.Time)
	}
	n.used[id] = at
}

func (n *touchNotes) take() map[string]time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	used := n.used
	n.used = nil
	return used
}

func (s *Keystore) touchLoop(ctx context.Context) {
	tick := time.NewTicker(s.opts.TouchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.flush(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("keystore: last-used times could not be written, trying again at the next interval", "error", err)
		}
	}
}

// flush writes the notes that wait. What could not be written waits on, behind
// newer notes of the same keys.
func (s *Keystore) flush(ctx context.Context) error {
	used := s.notes.take()
	batch := make(map[string]time.Time, min(len(used), touchBatch))
	for id, at := range used {
		batch[id] = at
		if len(batch) < touchBatch && len(batch) < len(used) {
			continue
		}
		if err := s.touch(ctx, batch); err != nil {
			s.notes.putBack(used)
			return err
		}
		for id := range batch {
			delete(used, id)
		}
		clear(batch)
	}
	return nil
}

func (s *Keystore) touch(ctx context.Context, batch map[string]time.Time) error {
	op := s.bound(ctx)
	defer op.end()
	return s.backend.Touch(op, batch)
}

func (n *touchNotes) putBack(used map[string]time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, at := range used {
		n.raise(id, at)
	}
}

// flushLast writes the notes for the last time and says what was lost.
func (s *Keystore) flushLast() error {
	bound := s.opts.OpTimeout
	if bound == Never {
		bound = closeBound
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	err := s.flush(ctx)
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	s.notes.ended = true
	lost := s.notes.dropped + len(s.notes.used)
	s.notes.used = nil
	switch {
	case lost == 0:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %d last-used times were lost: %w", ErrUnavailable, lost, err)
	}
	return fmt.Errorf("keystore: %d last-used times were lost, because more than %d keys were used between two flushes", lost, maxNotes)
}
