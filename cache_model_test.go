package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// TestTheBoundHoldsOnABadNetwork runs rotations and lookups by two processes for ten
// seconds each of a fake clock, with options drawn from the seed, while the store is
// slow and fails, messages are lost, the clock jumps and keystores come and go.
// No lookup may be accepted after the bound, nor a live token refused.
func TestTheBoundHoldsOnABadNetwork(t *testing.T) {
	runs := 60
	if long() {
		runs = 5000
	}
	first := seedOf(t)
	var sum modelCounts
	for i := range runs {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) { newModel(t, seed, &sum).run() })
		if t.Failed() {
			t.Fatalf("KEYSTORE_TEST_SEED=%d makes the same choices first", seed)
		}
	}
	t.Logf("%d runs: %d lookups accepted, %d of them stale, %d refused, %d unavailable",
		runs, sum.accepted.Load(), sum.stale.Load(), sum.refused.Load(), sum.unavailable.Load())
	require.NotZero(t, sum.accepted.Load())
}

type modelCounts struct{ accepted, stale, refused, unavailable atomic.Int64 }

// model is one run.
type model struct {
	*dice
	t      *testing.T
	seed   uint64
	counts *modelCounts

	ttl, stale time.Duration
	options    Options
	procs      [][]*Keystore // each process with its family
	keys       []*modelKey
	end        time.Time

	steps atomic.Int64 // orders events that happen at one time of the fake clock
	down  atomic.Bool
	clock suspended
}

type modelKey struct {
	id       string
	changing chan struct{} // a lock for many seconds, of which the fake clock approves

	mu     sync.Mutex
	tokens []*modelToken // the last is the current one
}

// modelToken lives from a step on, and ends between two others; 0: it lives.
type modelToken struct {
	text                  string
	issued, ending, ended int64
	endedAt               time.Time
	endedBy               int // process
}

func newModel(t *testing.T, seed uint64, counts *modelCounts) *model {
	m := &model{dice: newDice(seed), t: t, seed: seed, counts: counts, end: time.Now().Add(10 * time.Second)}
	m.ttl = oneOf(m.dice, time.Millisecond, 30*time.Millisecond, 500*time.Millisecond, 5*time.Second)
	m.stale = oneOf(m.dice, 0, 0, 700*time.Millisecond)
	m.options = Options{
		TouchInterval: Never, PurgeInterval: Never, Now: m.clock.now,
		CacheTTL: m.ttl, StaleIfUnavailable: m.stale, CacheSize: oneOf(m.dice, 1, 2, 3, 100, -1),
	}
	store := new(memory.Store)
	delay := oneOf(m.dice, 100*time.Microsecond, time.Millisecond, 10*time.Millisecond)
	watched := m.roll(2) == 0
	for _, keystores := range []int{2, 1} {
		handle := store.Open()
		b := &unruly{handle, m.dice, delay, &m.down}
		if watched {
			m.procs = append(m.procs, m.open(unrulyWatch{b, handle}, keystores))
		} else {
			m.procs = append(m.procs, m.open(b, keystores))
		}
	}
	for range 3 {
		key := &modelKey{changing: make(chan struct{}, 1)}
		for len(key.tokens) == 0 {
			token, made, err := m.procs[0][0].Generate(t.Context(), KeyParams{Owner: "alice"})
			if err == nil {
				key.id, key.tokens = made.ID, []*modelToken{{text: token.Reveal(), issued: m.steps.Add(1)}}
			}
		}
		m.keys = append(m.keys, key)
	}
	return m
}

func (m *model) open(b backend.Backend, keystores int) (family []*Keystore) {
	for range keystores {
		o := m.options
		o.OpTimeout = oneOf(m.dice, 2*time.Second, 100*time.Millisecond, Never)
		ks, err := New(b, &o)
		require.NoError(m.t, err)
		family = append(family, ks)
	}
	return family
}

func (m *model) run() {
	var all sync.WaitGroup
	start := func(n int, pause time.Duration, step func()) {
		for range n {
			all.Go(func() {
				for time.Now().Before(m.end) {
					time.Sleep(m.upTo(pause))
					step()
				}
			})
		}
	}
	start(2, 200*time.Millisecond, m.change)
	start(1, 400*time.Millisecond, m.disturb)
	start(12, 20*time.Millisecond, m.look)
	all.Wait()
	for _, ks := range slices.Concat(m.procs...) {
		require.NoError(m.t, ks.Close())
		requireNoFlights(m.t, ks)
	}
	families.mu.Lock()
	defer families.mu.Unlock()
	require.Empty(m.t, families.of, "all have left")
}

// any is some keystore, and its process.
func (m *model) any() (int, *Keystore) {
	p := m.roll(len(m.procs))
	return p, oneOf(m.dice, m.procs[p]...)
}

func (m *model) fail(format string, args ...any) {
	m.t.Errorf("seed %d, %+v: %s", m.seed, m.options, fmt.Sprintf(format, args...))
}

func (m *model) change() {
	p, ks := m.any()
	key := oneOf(m.dice, m.keys...)
	key.changing <- struct{}{}
	defer func() { <-key.changing }()
	switch m.roll(4) {
	case 0:
		ks.Get(context.Background(), key.id)
	case 1:
		ks.Update(context.Background(), key.id, func(c *Changes) error { c.Name = fmt.Sprint(m.roll(1000)); return nil })
	default:
		m.rotate(key, p, ks)
	}
}

// rotate ends the current token. Where the outcome is unknown it rotates until one
// is known.
func (m *model) rotate(key *modelKey, p int, ks *Keystore) {
	key.mu.Lock()
	old := key.tokens[len(key.tokens)-1]
	old.ending = m.steps.Add(1)
	key.mu.Unlock()
	token, _, err := ks.Rotate(context.Background(), key.id, 0, nil)
	if errors.Is(err, ErrUnknownOutcome) {
		for err != nil {
			time.Sleep(5 * time.Millisecond)
			token, _, err = ks.Rotate(context.Background(), key.id, 0, nil)
		}
	}
	key.mu.Lock()
	defer key.mu.Unlock()
	if err != nil { // it certainly did not happen
		old.ending = 0
		return
	}
	old.ended, old.endedAt, old.endedBy = m.steps.Add(1), time.Now(), p
	key.tokens = append(key.tokens, &modelToken{text: token.Reveal(), issued: m.steps.Load()})
}

func (m *model) disturb() {
	_, ks := m.any()
	switch m.roll(6) {
	case 0:
		if ks.cache != nil {
			ks.cache.flush()
		}
	case 1:
		if ks.cache != nil {
			ks.cache.evict(oneOf(m.dice, m.keys...).id)
		}
	case 2:
		m.down.Store(true)
		time.Sleep(m.upTo(900 * time.Millisecond))
		m.down.Store(false)
	case 3:
		m.clock.sleep(m.upTo(2*time.Hour) - time.Hour)
	case 4:
		if _, err := ks.Lookup(context.Background(), stray(m.t)); err == nil {
			m.fail("an unknown token was accepted")
		}
	case 5:
		guest := m.open(m.procs[0][0].backend, 1)[0]
		guest.Ping(context.Background())
		require.NoError(m.t, guest.Close())
	}
}

// look makes one lookup, of one of the two newest tokens or of a wrong secret.
func (m *model) look() {
	p, ks := m.any()
	key := oneOf(m.dice, m.keys...)
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if m.roll(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, m.upTo(5*time.Millisecond))
	}
	defer cancel()
	key.mu.Lock()
	token := key.tokens[max(0, len(key.tokens)-1-m.roll(2))]
	began, at, before := m.steps.Add(1), time.Now(), *token
	key.mu.Unlock()
	if m.roll(4) == 0 {
		if _, err := ks.Lookup(ctx, forged(m.t, token.text)); err == nil {
			m.fail("a wrong secret was accepted")
		}
		return
	}
	r, err := ks.LookupWith(ctx, token.text, LookupParams{})
	key.mu.Lock()
	after := *token
	key.mu.Unlock()
	switch {
	case err == nil:
		m.counts.accepted.Add(1)
		m.accepted(p, r, before, began, at)
	case errors.Is(err, ErrUnauthenticated):
		m.counts.refused.Add(1)
		if before.issued < began && after.ending == 0 {
			m.fail("a live token was refused: %v", err)
		}
	case errors.Is(err, ErrUnavailable):
		m.counts.unavailable.Add(1)
	default:
		m.fail("%v", err)
	}
}

// accepted judges a lookup that succeeded, given what was known when it began.
func (m *model) accepted(p int, r Result, token modelToken, began int64, at time.Time) {
	bound := m.ttl
	if r.Stale {
		m.counts.stale.Add(1)
		bound += m.stale
	}
	if token.ended == 0 || token.ended > began {
		return
	}
	switch late := at.Sub(token.endedAt); {
	case token.endedBy == p:
		m.fail("a change of the same process is hidden, %v after it returned", late)
	case late > bound:
		m.fail("accepted %v after a change elsewhere, stale: %t", late, r.Stale)
	}
}
