package keystore

import (
	"context"
	"iter"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// process is a keystore on a store that others change too, with what its backend
// is asked for. Its clock is the bubble's.
type process struct {
	*Keystore
	t     testing.TB
	reads atomic.Int64 // Gets
	inner backend.Backend

	mu     sync.Mutex
	before func(ctx context.Context, id string) error // of each Get; its error stands for the Get's
	after  func(id string)                            // of each Get, before its answer arrives

	lines   []chan string // what Watch returned
	watches int
	watch   error // of the next Watch
}

// quiet is a process that hears nothing of what others change.
type quiet struct{ *process }

func (q quiet) Create(ctx context.Context, r backend.Record) error { return q.inner.Create(ctx, r) }
func (q quiet) Update(ctx context.Context, r backend.Record) error { return q.inner.Update(ctx, r) }
func (q quiet) Delete(ctx context.Context, id string) error        { return q.inner.Delete(ctx, id) }
func (q quiet) Close() error                                       { return q.inner.Close() }
func (q quiet) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	return q.inner.List(ctx, o)
}
func (q quiet) Touch(ctx context.Context, used map[string]time.Time) error {
	return q.inner.Touch(ctx, used)
}
func (q quiet) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	return q.inner.Purge(ctx, now, limit)
}

func (q quiet) Get(ctx context.Context, id string) (backend.Record, error) {
	q.reads.Add(1)
	q.mu.Lock()
	before, after := q.before, q.after
	q.mu.Unlock()
	if before != nil {
		if err := before(ctx, id); err != nil {
			return backend.Record{}, err
		}
	}
	r, err := q.inner.Get(ctx, id)
	if after != nil {
		after(id)
	}
	return r, err
}

// told is a process that hears what the test tells it.
type told struct{ quiet }

func (w told) Watch(ctx context.Context) (<-chan string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watch != nil {
		return nil, w.watch
	}
	line := make(chan string)
	w.lines = append(w.lines, line)
	w.watches++
	return line, nil
}

// store is what several processes share.
type sharedStore struct {
	t testing.TB
	memory.Store
}

func newSharedStore(t testing.TB) *sharedStore { return &sharedStore{t: t} }

func (s *sharedStore) options(edit []func(*Options)) *Options {
	o := &Options{TouchInterval: Never, PurgeInterval: Never}
	for _, e := range edit {
		e(o)
	}
	return o
}

func (s *sharedStore) quiet(edit ...func(*Options)) *process {
	p := &process{t: s.t, inner: s.Open()}
	return p.start(quiet{p}, s.options(edit))
}

func (s *sharedStore) told(edit ...func(*Options)) *process {
	p := &process{t: s.t, inner: s.Open()}
	return p.start(told{quiet{p}}, s.options(edit))
}

func (p *process) start(b backend.Backend, o *Options) *process {
	var err error
	p.Keystore, err = New(b, o)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, p.Close()) })
	return p
}

func (p *process) on(before func(ctx context.Context, id string) error, after func(id string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

// tell sends a message to all who watch now.
func (p *process) tell(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NotEmpty(p.t, p.lines)
	for _, line := range p.lines {
		line <- id
	}
}

// hangUp ends all subscriptions.
func (p *process) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NotEmpty(p.t, p.lines)
	for _, line := range p.lines {
		close(line)
	}
	p.lines = nil
}

// subscriptions is how often Watch succeeded.
func (p *process) subscriptions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watches
}

func (p *process) revoke(id string) {
	p.t.Helper()
	_, err := p.Revoke(context.Background(), id, "")
	require.NoError(p.t, err)
}

// generate makes a key of alice's.
func (p *process) generate(scopes ...string) (string, string) {
	p.t.Helper()
	token, key, err := p.Generate(context.Background(), KeyParams{Owner: "alice", Scopes: scopes})
	require.NoError(p.t, err)
	return token.Reveal(), key.ID
}

// why is the reason of a refusal, "" for a lookup that succeeds.
func (p *process) why(token string, scopes ...string) Reason {
	p.t.Helper()
	_, err := p.Lookup(context.Background(), token, scopes...)
	return reasonOf(p.t, err)
}

// during counts the Gets while fn runs.
func (p *process) during(fn func()) int64 {
	before := p.reads.Load()
	fn()
	return p.reads.Load() - before
}

// forged is a well-formed token of the same key with another secret.
func forged(t testing.TB, token string) string {
	t.Helper()
	prefix, id, ok := splitToken(token)
	require.True(t, ok)
	other, err := newToken(prefix, id)
	require.NoError(t, err)
	return other.Reveal()
}

// stray is a well-formed token of a key that never was.
func stray(t testing.TB) string {
	t.Helper()
	id, err := newID(time.Now())
	require.NoError(t, err)
	token, err := newToken("ks", id)
	require.NoError(t, err)
	return token.Reveal()
}

// requireNoFlights demands that no read is left in the table.
func requireNoFlights(t testing.TB, ks *Keystore) {
	t.Helper()
	if ks.cache == nil {
		return
	}
	for i := range ks.cache.flights {
		require.Empty(t, ks.cache.flights[i].flights)
	}
}

// long reports whether the long forms of the tests are asked for.
func long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// seedOf is KEYSTORE_TEST_SEED, or a new one each time; it is logged.
func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KEYSTORE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "KEYSTORE_TEST_SEED")
	}
	t.Logf("KEYSTORE_TEST_SEED=%d", seed)
	return seed
}

// firstOf returns the first error of a sequence.
func firstOf[T any](all iter.Seq2[T, error]) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}
