package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"example.com/keystore/backend"
)

// Keystore generates, looks up and manages API keys in one backend. It is safe
// for concurrent use. Close it to flush last-used times and end its background
// work.
type Keystore struct {
	opts    Options
	backend backend.Backend // as the observer sees it
	owned   bool            // Open made the backend, so Close closes it
	counter backend.Counter // likewise observed; nil: the backend is none, and no key can have limits
	meter   backend.Meter   // likewise; nil: usage is not counted

	hashers []Hasher // Hash, then AcceptHash
	dummy   Hasher   // a fast one, for ids that do not exist
	family  *family
	cache   *cache // nil: none
	owners  *ownerCache
	notes   touchNotes
	usage   usageCounts
	rehash  rehasher
	trail   *auditTrail // nil: nothing is audited

	breaker   breaker       // of spends that may fail
	unchecked atomic.Uint64 // lookups that passed by LimitsOpen

	closed     atomic.Bool
	closeOnce  sync.Once
	closeErr   error
	life       context.Context // ends with Close
	stop       context.CancelFunc
	background sync.WaitGroup
}

// Open opens the backend that rawURL names (see backend.Open) and makes a
// Keystore of it; Close closes both. The driver must be imported, for example
//
//	import _ "example.com/keystore/badger"
//
// ctx bounds the opening. The error is ErrInvalid for options or a URL that can
// never be opened, and ErrUnavailable for a store that cannot be reached.
func Open(ctx context.Context, rawURL string, opts *Options) (*Keystore, error) {
	full, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	b, err := backend.Open(ctx, rawURL, &backend.OpenOptions{Logger: full.Logger, TLS: full.TLS})
	if errors.Is(err, backend.ErrInvalidURL) {
		return nil, fmt.Errorf("%w URL: %w", ErrInvalid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: open: %w", ErrUnavailable, err)
	}
	return start(b, full, true), nil
}

// New makes a Keystore of a backend, which stays the caller's: several keystores
// may share one, and Close does not close it. New does no I/O. The error is
// ErrInvalid.
func New(b backend.Backend, opts *Options) (*Keystore, error) {
	if b == nil {
		return nil, invalid("backend", "it is nil")
	}
	full, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return start(b, full, false), nil
}

func start(b backend.Backend, opts Options, owned bool) *Keystore {
	ctx, stop := context.WithCancel(context.Background())
	s := &Keystore{opts: opts, backend: observed(b, opts.Observer), owned: owned, life: ctx, stop: stop, family: joinFamily(b)}
	s.counter, s.meter = observedCounter(b, opts.Observer), observedMeter(b, opts.Observer)
	s.breaker.on, s.breaker.start = opts.LimitFailure == LimitsOpen, time.Now()
	s.hashers = append([]Hasher{opts.Hash}, opts.AcceptHash...)
	s.dummy = SHA256()
	if _, fast := opts.Hash.(*hmacHasher); fast {
		s.dummy = opts.Hash
	}
	if opts.CacheSize > 0 {
		s.cache = newCache(&s.opts)
		s.family.add(s.cache)
		s.owners = newOwnerCache(opts.CacheSize)
		if w, ok := b.(backend.Watcher); ok {
			s.cache.counts.watch.Store(WatchLost)
			s.background.Go(func() { s.watchLoop(ctx, w) })
		}
	}
	s.trail = newAuditTrail(opts.Audit, opts.OpTimeout, opts.Logger, opts.Now)
	s.notes.on = opts.TouchInterval != Never
	if s.notes.on {
		s.background.Go(func() { s.flushLoop(ctx, opts.TouchInterval, "last-used times", s.flush) })
	}
	s.usage.on, s.usage.writing = s.meter != nil && opts.UsageInterval != Never, make(chan struct{}, 1)
	if s.usage.on {
		s.background.Go(func() {
			s.flushLoop(ctx, opts.UsageInterval, "usage", func(ctx context.Context) error { return s.flushUsage(ctx, opts.OpTimeout) })
		})
	}
	if opts.PurgeInterval != Never {
		s.background.Go(func() { s.purgeLoop(ctx) })
	}
	if opts.Rehash {
		s.rehash.queue = make(chan rehashJob, rehashQueue)
		s.background.Go(func() { s.rehashLoop(ctx) })
	}
	return s
}

// Close ends the background work, writes the last-used times that are still
// waiting, within OpTimeout (2 s where that is Never), then the usage that is, as
// long as each call of the store ends within that time, and delivers the events
// that wait for the audit, within it again, and closes the backend if Open made it.
// The error says how many last-used times, lookups and events were lost over the
// life of the Keystore; of usage for damaged tallies it can only say that there was
// some. Later calls of other methods return ErrClosed; a second
// Close returns what the first did. To count what is under way, let lookups end
// before.
func (s *Keystore) Close() error {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		s.stop()
		if s.cache != nil {
			s.cache.close()
		}
		s.background.Wait()
		s.family.leave(s.cache)
		s.closeErr = errors.Join(s.flushLast(), s.flushUsageLast())
		if lost := s.trail.close(); lost > 0 {
			s.closeErr = errors.Join(s.closeErr, fmt.Errorf("keystore: %d events of the audit were lost", lost))
		}
		if s.owned {
			if err := s.backend.Close(); err != nil {
				s.closeErr = errors.Join(s.closeErr, fmt.Errorf("%w: close: %w", ErrUnavailable, err))
			}
		}
	})
	return s.closeErr
}

// Ping asks the backend for a key that cannot exist, and returns nil if it
// answers, else ErrUnavailable.
func (s *Keystore) Ping(ctx context.Context) (err error) {
	ctx, end := s.begin(ctx, "ping", "")
	err = ErrPanicked
	defer func() { end(err) }()
	if s.closed.Load() {
		return ErrClosed
	}
	const never = "0000000000000000" // 1970 and eight random zeros
	if _, err := s.load(ctx, never); err != nil && !errors.Is(err, backend.ErrNotFound) {
		return s.unavailable(ctx, "ping", err)
	}
	return nil
}

// Hash returns the digest that would be stored for a token of this keystore, in
// the scheme of Options.Hash. A text that is no token is ErrInvalid.
func (s *Keystore) Hash(token string) (Digest, error) {
	if s.closed.Load() {
		return Digest{}, ErrClosed
	}
	prefix, _, ok := splitToken(token)
	if !ok || !s.accepts(prefix) || !checksumMatches(token) {
		return Digest{}, invalid("token", "it is malformed or has an unknown prefix")
	}
	return s.opts.Hash.Hash(token)
}

func (s *Keystore) accepts(prefix string) bool {
	if prefix == s.opts.Prefix {
		return true
	}
	for _, p := range s.opts.AcceptPrefixes {
		if prefix == p {
			return true
		}
	}
	return false
}

// hasher returns the one that verifies digests like d, nil if none is configured.
func (s *Keystore) hasher(d Digest) Hasher {
	for _, h := range s.hashers {
		if h.Scheme() == d.scheme && h.HasKey(d.kid) {
			return h
		}
	}
	return nil
}

// Now returns the time by which the keystore judges expiry: that of Options.Now, in
// UTC and whole milliseconds.
func (s *Keystore) Now() time.Time { return s.now() }

// now is the time of the keystore's clock.
func (s *Keystore) now() time.Time { return wholeMillis(s.opts.Now()) }

// wholeMillis cuts a reading of a clock to whole milliseconds UTC. A clock outside
// the years 1970 to 8888 still orders times; only newID refuses it.
func wholeMillis(now time.Time) time.Time {
	if !inRange(now) {
		return now.UTC()
	}
	return millis(now)
}

// load reads one record, with the timeout of a single operation.
func (s *Keystore) load(ctx context.Context, id string) (backend.Record, error) {
	op := s.bound(ctx)
	defer op.end()
	return s.backend.Get(op, id)
}

// unavailable wraps a failure of the backend. A backend that fails because the
// Keystore was closed meanwhile is ErrClosed.
func (s *Keystore) unavailable(ctx context.Context, what string, err error) error {
	if s.closed.Load() && errors.Is(err, backend.ErrClosed) {
		return ErrClosed
	}
	err = fmt.Errorf("%w: %s: %w", ErrUnavailable, what, foreign{err})
	// A driver may report a cancelled call in words of its own.
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
