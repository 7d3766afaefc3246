package keystore

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxNotes   = 100_000         // ids that wait for the next flush; notes of further ones are dropped
	touchBatch = 1000            // ids per backend call, each with a timeout of its own
	closeBound = 2 * time.Second // of the last flush, where OpTimeout is Never
)

// noteShards is enough that callers on all cores seldom meet in one.
const noteShards = 64

// touchNotes collects when keys were last used, until they are written all at
// once. A note never waits for the backend.
type touchNotes struct {
	on      bool
	ended   atomic.Bool
	waiting atomic.Int64 // ids in all shards
	dropped atomic.Int64 // notes that were lost, over the life of the Keystore
	shards  [noteShards]noteShard
}

type noteShard struct {
	mu   sync.Mutex
	used map[string]*noteCell
	_    [48]byte // a cache line to each
}

// noteCell is the note of one key: Unix milliseconds, or taken.
type noteCell struct{ at atomic.Int64 }

// taken marks the cell that a flush has read. Nobody would see what is noted
// there later.
const taken = math.MinInt64

// noteRef is where a cached entry remembers the note of its key, so that noting
// a hit is one atomic compare-and-swap and no lock. It belongs to one key of one
// Keystore. The zero value is ready; it is safe for concurrent use.
type noteRef struct{ cell atomic.Pointer[noteCell] }

var noteSeed = maphash.MakeSeed()

// note remembers that a key was used. A key that waits already is raised in
// place, so the bound is one on the number of keys. ref may be nil.
func (s *Keystore) note(id string, now time.Time, ref *noteRef) {
	if !s.notes.on || !inRange(now) {
		return
	}
	at := now.UnixMilli()
	if ref == nil {
		s.notes.raise(id, at)
		return
	}
	if cell := ref.cell.Load(); cell == nil || !cell.raise(at) {
		ref.cell.Store(s.notes.raise(id, at))
	}
}

// noteUse is note, by the refs of an entry or nil.
func (s *Keystore) noteUse(id string, now time.Time, refs *useRefs) {
	if refs == nil {
		s.note(id, now, nil)
		return
	}
	s.note(id, now, &refs.noted)
}

// raise keeps the later of two times. It returns false, having done nothing, if
// the cell was taken.
func (c *noteCell) raise(at int64) bool {
	for {
		old := c.at.Load()
		switch {
		case old == taken:
			return false
		case at <= old || c.at.CompareAndSwap(old, at):
			return true
		}
	}
}

// raise notes a time in the cell of a key and returns it, nil if the note was
// dropped.
func (n *touchNotes) raise(id string, at int64) *noteCell {
	shard := &n.shards[maphash.String(noteSeed, id)%noteShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if cell := shard.used[id]; cell != nil {
		cell.raise(at) // which succeeds: cells are taken after they left the map
		return cell
	}
	if n.ended.Load() || !n.reserve() {
		n.dropped.Add(1)
		return nil
	}
	if shard.used == nil {
		shard.used = make(map[string]*noteCell)
	}
	cell := new(noteCell)
	cell.at.Store(at)
	shard.used[strings.Clone(id)] = cell // which is a part of the whole record
	return cell
}

// reserve makes room for one more id, or returns false.
func (n *touchNotes) reserve() bool {
	for {
		waiting := n.waiting.Load()
		if waiting >= maxNotes {
			return false
		}
		if n.waiting.CompareAndSwap(waiting, waiting+1) {
			return true
		}
	}
}

// take returns the notes that wait, and forgets them.
func (n *touchNotes) take() map[string]time.Time {
	used := make(map[string]time.Time, n.waiting.Load())
	for i := range n.shards {
		shard := &n.shards[i]
		shard.mu.Lock()
		cells := shard.used
		shard.used = nil
		shard.mu.Unlock()
		n.waiting.Add(-int64(len(cells)))
		for id, cell := range cells {
			used[id] = time.UnixMilli(cell.at.Swap(taken)).UTC()
		}
	}
	return used
}

// flushLoop flushes what waits at each interval until ctx ends.
func (s *Keystore) flushLoop(ctx context.Context, interval time.Duration, what string, flush func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := flush(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Warn("keystore: "+what+" could not be written, trying again at the next interval", "error", err)
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
	for id, at := range used {
		n.raise(id, at.UnixMilli())
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
	s.notes.ended.Store(true)
	lost := len(s.notes.take()) + int(s.notes.dropped.Load())
	switch {
	case lost == 0:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %d last-used times were lost: %w", ErrUnavailable, lost, err)
	}
	return fmt.Errorf("keystore: %d last-used times were lost, because more than %d keys were used between two flushes", lost, maxNotes)
}
