package keystore

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"example.com/keystore/backend"
)

const (
	flightShards = 64
	rereadEvery  = 50 * time.Millisecond // for one id: 20 a second
)

// flight is one read of an id that all who want the id at that time share.
type flight struct {
	id      string
	older   *entry        // what is not enough, and so the reason of the read; nil: nothing is kept
	waiting bool          // it has not begun: the next slot after older is yet to come
	began   time.Duration // age of the cache when the read began, or a little before
	epoch   uint64        // of the cache then
	known   uint64        // when it was detached: the version that may have been told already

	done      chan struct{} // closed when the rest is there
	e         *entry
	err       error // the store's
	abandoned bool  // the caller that made the read gave up: another must make it
}

// flightShard guards, for the ids that fall to it, what is in flight, and what is
// kept against being changed meanwhile.
type flightShard struct {
	mu      sync.Mutex
	flights map[string]*flight
	_       [48]byte // a cache line to each
}

var flightSeed = maphash.MakeSeed()

func (c *cache) shard(id string) *flightShard {
	return &c.flights[maphash.String(flightSeed, id)%flightShards]
}

// detach makes a read that is under way one that nobody joins any more and that is
// not kept. Reads that begin later find the known version or a newer one; 0: nobody
// knows. The caller holds the lock.
func (s *flightShard) detach(id string, known uint64) {
	if f := s.flights[id]; f != nil && !f.waiting {
		f.known = known
		delete(s.flights, id)
	}
}

// join returns what is kept by now of an id for a lookup that began at the given
// age, or the flight to wait for, or a new flight that the caller must lead; and
// whether its read began since then. older, if not nil, is an entry that does not do.
func (c *cache) join(id string, began time.Duration, older *entry) (kept *entry, f *flight, leads, since bool) {
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if e := c.kept(id); e != nil && e != older && c.fresh(e, began) {
		return e, nil, false, e.read > began
	}
	epoch := c.epoch.Load()
	if f := shard.flights[id]; f != nil && (f.waiting || f.epoch == epoch && began-f.began < c.ttl) {
		return nil, f, false, f.waiting
	}
	f = &flight{id: strings.Clone(id), older: older, waiting: older != nil, began: began, epoch: epoch, done: make(chan struct{})}
	if shard.flights == nil {
		shard.flights = make(map[string]*flight)
	}
	shard.flights[f.id] = f
	return nil, f, true, true
}

// begin ends the time that a flight waits for its slot.
func (c *cache) begin(f *flight) {
	shard := c.shard(f.id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	f.waiting, f.began, f.epoch = false, c.age(), c.epoch.Load()
	if f.older != nil {
		f.older.asked.Store(int64(f.began))
	}
}

// land ends a flight, and keeps what it found unless that may be outdated.
func (c *cache) land(f *flight, e *entry, err error, abandoned bool) {
	f.e, f.err, f.abandoned = e, err, abandoned
	defer close(f.done)
	shard := c.shard(f.id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.flights[f.id] != f {
		if err == nil {
			c.overtaken(shard, f, e)
		}
		return
	}
	delete(shard.flights, f.id)
	switch {
	case err != nil:
	case f.epoch != c.epoch.Load(), e.damage != nil:
		c.drop(f.id)
	default:
		c.keep(f.id, e)
	}
}

// overtaken is told what a flight found that was detached, which its waiters are told.
// A read that began after it may have found an older version, and no lookup that
// begins from now on shall be told of that.
func (c *cache) overtaken(shard *flightShard, f *flight, e *entry) {
	version := e.version()
	if version <= f.known {
		return
	}
	if kept := c.kept(f.id); kept == nil || kept.version() < version {
		shard.detach(f.id, version)
		c.drop(f.id)
	}
}

// obtain returns an entry of the id that was read less than CacheTTL before the
// lookup began, or later; newer than older, if that is not nil; and whether it is
// certain that the read began after the lookup did. The error is the store's, or
// says that op has ended. ctx is the caller's own part of op.
func (s *Keystore) obtain(ctx context.Context, op *opContext, id string, began time.Duration, older *entry) (e *entry, since bool, err error) {
	for again := false; ; again = true {
		e, f, leads, since := s.cache.join(id, began, older)
		switch {
		case e != nil:
			return e, since, nil
		case leads && older == nil && !again:
			s.lead(ctx, op, f)
		case leads: // on behalf of all who wait, however little time this one has left
			s.leadInBackground(f)
		}
		select {
		case <-f.done:
		default: // only who has to wait starts the timer of op
			select {
			case <-f.done:
			case <-op.Done():
				return nil, false, op.Err()
			}
		}
		if !f.abandoned || ctx.Err() != nil {
			return f.e, since, f.err
		}
	}
}

// errPanicked is what others get who wait for a read that panics.
var errPanicked = errors.New("the backend panicked")

// hasEnded reports whether ctx has ended, also where its timer is late: a driver
// may have seen the deadline pass before.
func hasEnded(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) <= 0
}

// lead makes the read of a flight. It is abandoned if it fails because the
// caller's own context has ended.
func (s *Keystore) lead(ctx context.Context, op context.Context, f *flight) {
	var e *entry
	err := errPanicked
	defer func() { s.cache.land(f, e, err, err != nil && hasEnded(ctx)) }()
	e, err = s.readEntry(op, f)
	if err != nil && s.life.Err() != nil {
		err = backend.ErrClosed // whatever else it says
	}
	if err == nil || !hasEnded(ctx) {
		s.cache.outage.note(err, s.cache)
	}
}

// leadInBackground makes the read of a flight that belongs to no caller, in the next
// slot after an entry that was not enough.
func (s *Keystore) leadInBackground(f *flight) {
	slot := time.Duration(0)
	if f.older != nil {
		slot = max(f.older.read, time.Duration(f.older.asked.Load())) + rereadEvery
	}
	started := s.inBackground(func() {
		defer func() {
			if p := recover(); p != nil { // all who waited have errPanicked
				s.opts.Logger.Error("keystore: the backend panicked", "key", f.id, "panic", p)
			}
		}()
		wait := time.NewTimer(slot - s.cache.age())
		defer wait.Stop()
		select {
		case <-wait.C:
			s.cache.begin(f)
			op := s.bound(s.life)
			defer op.end()
			s.lead(context.Background(), op, f)
		case <-s.life.Done():
			s.cache.land(f, nil, backend.ErrClosed, false)
		}
	})
	if !started {
		s.cache.land(f, nil, backend.ErrClosed, false)
	}
}

// readEntry reads an id from the store.
func (s *Keystore) readEntry(op context.Context, f *flight) (*entry, error) {
	e := &entry{read: f.began, epoch: f.epoch}
	stored, err := s.backend.Get(op, f.id)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		e.unknown = true
		return e, nil
	case err != nil:
		return nil, err
	}
	switch e.damage = e.record.open(&stored, f.id); {
	case e.damage != nil:
	case len(e.secrets) == 1:
		e.oneSecret[0] = e.secrets[0]
		e.secrets, e.proofs = e.oneSecret[:], e.oneProof[:]
	default:
		e.proofs = make([]proof, len(e.secrets))
	}
	return e, nil
}
