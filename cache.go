package keystore

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/internal/sieve"
)

const (
	unknownTTL = time.Second // that an id is remembered to be unknown, or CacheTTL if that is less
	maxDoubts  = 10_000      // entries that no token proved, or CacheSize if that is less
	minDoubts  = 100         // or more than CacheSize: a good key is among them while a slow hash is made
	maxSkew    = 1000        // milliseconds by which wall and monotonic clock may drift apart
)

// cache is what Lookup keeps of the store. docs/design.md, "The read cache",
// says what it promises and why.
type cache struct {
	ttl   time.Duration
	stale time.Duration // StaleIfUnavailable

	start time.Time    // ages are counted from here, on the monotonic clock
	wall  int64        // the keystore's clock then, in Unix milliseconds
	skew  atomic.Int64 // by how many milliseconds the clocks have drifted apart since
	epoch atomic.Uint64

	proven *sieve.Map[*entry] // keys whose token was presented
	doubts *sieve.Map[*entry] // ids that met no right token: no flood of tokens evicts a key in use

	flights [flightShards]flightShard
	outage  outage
	counts  counts

	mu     sync.Mutex // guards closed, and starting reads in the background
	closed bool
}

func newCache(o *Options) *cache {
	c := &cache{
		ttl: o.CacheTTL, stale: o.StaleIfUnavailable,
		start: time.Now(), wall: o.Now().UnixMilli(),
		proven: sieve.New[*entry](o.CacheSize),
		doubts: sieve.New[*entry](min(max(o.CacheSize, minDoubts), maxDoubts)),
	}
	c.counts.watch.Store(WatchUnsupported)
	return c
}

// entry is what one read of an id found. It is immutable but for the proofs and
// the note.
type entry struct {
	record
	unknown bool          // the id has no record
	damage  error         // the record cannot be read; such an entry is not kept
	read    time.Duration // when the read began, since cache.start
	epoch   uint64        // of the cache, when the read began
	asked   atomic.Int64  // when the last read began that this was not enough for
	proofs  []proof       // of record.secrets
	uses    useRefs

	// Most keys have one secret. Here a hit finds it without following pointers
	// to other cache lines.
	oneSecret [1]secret
	oneProof  [1]proof
}

// proof is the SHA-256 of the token that matched a digest, so that a slow hash is
// paid once. It is set once.
type proof struct {
	state atomic.Uint32
	sum   [sha256.Size]byte // valid if state is proofSet
}

const (
	proofBegun = 1 + iota // somebody writes it
	proofSet
)

func (p *proof) is(sum *[sha256.Size]byte) bool {
	return p.state.Load() == proofSet && subtle.ConstantTimeCompare(p.sum[:], sum[:]) == 1
}

func (p *proof) set(sum *[sha256.Size]byte) {
	if p.state.CompareAndSwap(0, proofBegun) {
		p.sum = *sum
		p.state.Store(proofSet)
	}
}

// version orders what was read of an id: by its revision, and that it has no record
// comes last, for ids are not used again.
func (e *entry) version() uint64 { return versionOf(e.key.revision) }

func versionOf(revision uint64) uint64 {
	if revision == 0 {
		return math.MaxUint64
	}
	return revision
}

// provenBy returns which secret the token with this SHA-256 has proved itself to
// be, -1 if it is none.
func (e *entry) provenBy(sum *[sha256.Size]byte) int {
	for i := range e.proofs {
		if e.proofs[i].is(sum) {
			return i
		}
	}
	return -1
}

// inherit takes over the proofs of digests that an older entry has too.
func (e *entry) inherit(old *entry) {
	for i := range e.proofs {
		for j := range old.proofs {
			if p := &old.proofs[j]; p.state.Load() == proofSet && e.secrets[i].digest == old.secrets[j].digest {
				e.proofs[i].set(&p.sum)
			}
		}
	}
}

// sameDigests reports whether a token that matches nothing in one of them
// matches nothing in the other.
func (e *entry) sameDigests(other *entry) bool {
	if e.unknown || other.unknown || len(e.secrets) != len(other.secrets) {
		return false
	}
	for i := range e.secrets {
		if e.secrets[i].digest != other.secrets[i].digest {
			return false
		}
	}
	return true
}

// moment is one look at both clocks.
type moment struct {
	wall time.Time     // the keystore's, by which keys expire
	age  time.Duration // since cache.start on the monotonic clock, by which entries age
}

// moment looks at the clocks once, at the beginning of a lookup, and empties the
// cache if they have drifted apart: the monotonic clock stands still while a
// machine sleeps.
func (s *Keystore) moment() moment {
	wall := s.opts.Now()
	mono := wall
	if !s.opts.systemClock {
		mono = time.Now()
	}
	c := s.cache
	age := mono.Sub(c.start)
	skew, before := wall.UnixMilli()-c.wall-age.Milliseconds(), c.skew.Load()
	if drift := skew - before; drift > maxSkew || drift < -maxSkew {
		c.flush()
		c.proven.Clear()   // StaleIfUnavailable cannot tell how old it is
		c.skew.Store(skew) // last, or another lookup goes on with what is kept
	}
	return moment{wall: wholeMillis(wall), age: age}
}

// age is the monotonic time since the start of the cache.
func (c *cache) age() time.Duration { return time.Since(c.start) }

// kept returns the entry of an id, however old, nil if there is none.
func (c *cache) kept(id string) *entry {
	e, ok := c.proven.Get(id)
	if !ok {
		e, _ = c.doubts.Get(id)
	}
	return e
}

// fresh reports whether a lookup that began at this age may be decided by e.
func (c *cache) fresh(e *entry, began time.Duration) bool {
	ttl := c.ttl
	if e.unknown {
		ttl = min(ttl, unknownTTL)
	}
	return began-e.read < ttl && e.epoch == c.epoch.Load()
}

// keep stores an entry in place of an older one of its id. The caller holds the
// lock of the id's flights.
func (c *cache) keep(id string, e *entry) {
	old, ok := c.proven.Get(id)
	switch {
	case e.unknown:
		c.proven.Delete(id)
		c.doubts.Put(id, e)
	case ok:
		e.inherit(old)
		c.counts.evicted(c.proven.Put(id, e))
	default:
		c.doubts.Put(id, e)
	}
}

// drop forgets an id. The caller holds the lock of the id's flights.
func (c *cache) drop(id string) {
	c.proven.Delete(id)
	c.doubts.Delete(id)
}

// proved notes that the token with this SHA-256 is secret i of e, and counts the
// key among those that are in use, if e is still what is kept of it.
func (c *cache) proved(e *entry, i int, sum [sha256.Size]byte) {
	e.proofs[i].set(&sum)
	id := e.key.ID
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if c.doubts.DeleteIf(id, func(kept *entry) bool { return kept == e }) {
		c.counts.evicted(c.proven.Put(strings.Clone(id), e)) // not the text of the whole record
	}
}

// evict forgets an id, and whatever is being read of it. The waiters of a read
// that is under way still get it: their lookups began before.
func (c *cache) evict(id string) {
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.detach(id, 0)
	c.drop(id)
}

// seen is told what a management call found under an id: its revision, 0 if
// nothing. No lookup that begins later shall be told of an older one.
func (c *cache) seen(id string, revision uint64) {
	shard := c.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.detach(id, versionOf(revision))
	for _, kept := range []*sieve.Map[*entry]{c.proven, c.doubts} {
		kept.DeleteIf(id, func(e *entry) bool { return e.key.revision != revision })
	}
}

// flush forgets everything: no entry of an older epoch decides a lookup, and no
// read that began before is kept. Only StaleIfUnavailable has a use for what was
// proven until then.
func (c *cache) flush() {
	c.epoch.Add(1)
	c.counts.flushes.Add(1)
	c.doubts.Clear()
	if c.stale == 0 {
		c.proven.Clear()
	}
}

// close ends the reads in the background, with the context that they run under.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.epoch.Add(1)
	c.doubts.Clear()
	c.proven.Clear()
}

// inBackground starts work that Close waits for, or returns false if it is too
// late for that.
func (s *Keystore) inBackground(work func()) bool {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if s.cache.closed {
		return false
	}
	s.background.Go(work)
	return true
}
