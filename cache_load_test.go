package keystore

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/memory"
)

const (
	loadTTL     = 50 * time.Millisecond
	loadKeys    = 32
	loadLookers = 12
	loadForgers = 4 // a wrong secret waits for its slot
	loadChanges = 3
)

// TestMixedLoad looks up and changes keys on several keystores of one store at the
// same time, for 2 s or, with KEYSTORE_TEST_LONG=1, 5 minutes. Each outcome must be
// one that some state of the key explains which the lookup may have seen: see
// loadKey.explains.
func TestMixedLoad(t *testing.T) {
	seed, lasts := seedOf(t), 2*time.Second
	if long() {
		lasts = 5 * time.Minute
	}
	for name, open := range map[string]func(t *testing.T) (here, elsewhere backend.Backend){
		"memory": func(*testing.T) (here, elsewhere backend.Backend) {
			store := new(memory.Store)
			return store.Open(), store.Open()
		},
		"badger": func(t *testing.T) (here, elsewhere backend.Backend) {
			opts, err := badger.DatabaseOptions("", &badger.Options{InMemory: true})
			require.NoError(t, err)
			db, err := badgerdb.Open(opts)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			here, err = badger.New(db, nil)
			require.NoError(t, err)
			elsewhere, err = badger.New(db, nil)
			require.NoError(t, err)
			return here, elsewhere
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, elsewhere := open(t)
			l := &load{t: t, seed: seed, outcomes: make(map[Reason]int)}
			l.join(0, here, 4)
			l.join(0, here, 1000)
			l.join(1, struct{ backend.Backend }{elsewhere}, 16) // it hears of nothing
			l.run(lasts)
		})
	}
}

// load is keystores, keys, and what became of the lookups.
type load struct {
	t         *testing.T
	seed      uint64
	keystores []loadMember
	keys      [loadKeys]loadSlot
	stop      atomic.Bool

	mu       sync.Mutex
	outcomes map[Reason]int
	changes  int
}

type loadMember struct {
	*Keystore
	family int
}

// loadSlot holds one key after the other.
type loadSlot struct {
	changing sync.Mutex
	key      atomic.Pointer[loadKey]
}

func (l *load) join(family int, b backend.Backend, cacheSize int) {
	ks, err := New(b, &Options{
		CacheSize: cacheSize, CacheTTL: loadTTL, Retention: time.Millisecond, OpTimeout: Never,
		TouchInterval: 20 * time.Millisecond, PurgeInterval: Never,
	})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, ks.Close()) })
	l.keystores = append(l.keystores, loadMember{ks, family})
}

func (l *load) run(lasts time.Duration) {
	random := rand.New(rand.NewPCG(l.seed, 0))
	for i := range l.keys {
		l.renew(random, &l.keys[i])
	}
	var all sync.WaitGroup
	start := func(n int, work func(*rand.Rand)) {
		for range n {
			random := rand.New(rand.NewPCG(l.seed, random.Uint64()))
			all.Go(func() {
				for !l.stop.Load() {
					work(random)
				}
			})
		}
	}
	start(loadLookers, l.look)
	start(loadForgers, l.forge)
	start(loadChanges, l.change)
	start(1, l.manage)
	timer := time.AfterFunc(lasts, func() { l.stop.Store(true) })
	defer timer.Stop()
	all.Wait()
	l.t.Logf("%d changes; lookups by reason of refusal: %v", l.changes, l.outcomes)
	require.NotZero(l.t, l.outcomes[""], "none succeeded")
	for _, ks := range l.keystores {
		l.t.Logf("%+v", ks.Stats())
		requireNoFlights(l.t, ks.Keystore)
	}
}

func (l *load) any(random *rand.Rand) loadMember { return l.keystores[random.IntN(len(l.keystores))] }

// fail ends the load with a report.
func (l *load) fail(format string, args ...any) {
	l.stop.Store(true)
	l.t.Errorf("KEYSTORE_TEST_SEED=%d: "+format, append([]any{l.seed}, args...)...)
}

// look makes one lookup of a token that is or was good, or never was.
func (l *load) look(random *rand.Rand) {
	if random.IntN(8) == 0 {
		time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond) // the changes want a turn, too
	}
	ks, key := l.any(random), l.keys[random.IntN(loadKeys)].key.Load()
	text, at := key.draw(random)
	switch random.IntN(32) {
	case 0:
		l.must(ks, stray(l.t), ReasonUnknownKey)
	case 1:
		l.must(ks, text[:len(text)-1], ReasonMalformed)
	case 2:
		l.must(ks, misspelt(text), ReasonMalformed)
	default:
		l.observe(ks, key, text, at, random.IntN(4) == 0)
	}
}

// forge looks up another secret of a key.
func (l *load) forge(random *rand.Rand) {
	key := l.keys[random.IntN(loadKeys)].key.Load()
	text, _ := key.draw(random)
	l.observe(l.any(random), key, forged(l.t, text), neverIssued, false)
}

// misspelt is the text with another last character.
func misspelt(token string) string {
	last := len(token) - 1
	if token[last] == '0' {
		return token[:last] + "1"
	}
	return token[:last] + "0"
}

// must looks up a token that is refused whatever happens.
func (l *load) must(ks loadMember, token string, want Reason) {
	_, err := ks.Lookup(context.Background(), token)
	got := reasonOf(l.t, err)
	l.count(got)
	if got != want {
		l.fail("%q, not %q", got, want)
	}
}

func (l *load) count(got Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[got]++
}

// observe looks a token of the key up and has it judged.
func (l *load) observe(ks loadMember, key *loadKey, text string, token int, scoped bool) {
	o := observation{family: ks.family, token: token, scoped: scoped}
	var scopes []string
	if scoped {
		scopes = []string{"orders:write"}
	}
	o.began = time.Now()
	_, err := ks.Lookup(context.Background(), text, scopes...)
	o.ended = time.Now()
	o.got = reasonOf(l.t, err)
	l.count(o.got)
	for _, wrong := range key.judge(o) {
		l.fail("%s", key.describe(wrong))
	}
}

// manage calls what changes no key, and Purge.
func (l *load) manage(random *rand.Rand) {
	ctx, ks := context.Background(), l.any(random)
	key := l.keys[random.IntN(loadKeys)].key.Load()
	switch random.IntN(4) {
	case 0:
		if _, err := ks.Get(ctx, key.id); err != nil && !errors.Is(err, ErrNotFound) {
			l.fail("Get: %v", err)
		}
	case 1:
		if _, _, err := ks.List(ctx, ListParams{Owner: "alice"}); err != nil {
			l.fail("List: %v", err)
		}
	case 2:
		if _, err := ks.Purge(ctx); err != nil {
			l.fail("Purge: %v", err)
		}
	default:
		if s := ks.Stats(); s.Bound != loadTTL {
			l.fail("%+v", s)
		}
	}
	time.Sleep(time.Duration(random.IntN(4000)) * time.Microsecond)
}

// renew puts a new key into the slot.
func (l *load) renew(random *rand.Rand, slot *loadSlot) {
	ks := l.any(random)
	v := loadVersion{began: time.Now(), family: ks.family}
	token, key, err := ks.Generate(context.Background(), KeyParams{Owner: "alice", Scopes: []string{"orders:read", "orders:write"}})
	if err != nil {
		l.fail("Generate: %v", err)
		return
	}
	v.ended = time.Now()
	slot.key.Store(&loadKey{id: key.ID, tokens: []string{token.Reveal()}, versions: []loadVersion{v}})
}

// change changes one key that nobody else changes at this time.
func (l *load) change(random *rand.Rand) {
	time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
	slot := &l.keys[random.IntN(loadKeys)]
	if !slot.changing.TryLock() {
		return
	}
	defer slot.changing.Unlock()
	key := slot.key.Load()
	if key.over() {
		if random.IntN(4) == 0 { // looked up for a while more
			l.renew(random, slot)
		}
		return
	}
	ks := l.any(random)
	wrong, err := key.change(ks, random)
	for _, o := range wrong {
		l.fail("%s", key.describe(o))
	}
	if err != nil {
		l.fail("a change: %v", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
}

// draw returns a token of the key, mostly the newest, and its index.
func (k *loadKey) draw(random *rand.Rand) (string, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := len(k.tokens) - 1
	if random.IntN(3) == 0 {
		at = max(0, at-random.IntN(7))
	}
	return k.tokens[at], at
}

// change makes one change of the key through ks, and judges the lookups that had to
// wait for its end.
func (k *loadKey) change(ks loadMember, random *rand.Rand) (wrong []observation, err error) {
	ctx := context.Background()
	next := k.begin(ks.family)
	var token Token
	var key Key
	edit := func(fn func(*Changes)) {
		key, err = ks.Update(ctx, k.id, func(c *Changes) error { fn(c); return nil })
	}
	switch kind := random.IntN(16); {
	case len(next.until) > 60, kind == 0:
		next.deleted = true
		err = ks.Delete(ctx, k.id)
	case kind == 1:
		next.revoked = true
		_, err = ks.Revoke(ctx, k.id, "")
	case kind <= 3:
		next.disabled = !next.disabled
		edit(func(c *Changes) { c.Disabled = next.disabled })
	case kind <= 5:
		next.narrow = !next.narrow
		edit(func(c *Changes) {
			c.Scopes = []string{"orders:read", "orders:write"}
			if next.narrow {
				c.Scopes = []string{"orders:read"}
			}
		})
	case kind == 6:
		key, err = ks.Expire(ctx, k.id, time.Now().Add(time.Duration(random.IntN(200))*time.Millisecond))
		next.expires = key.ExpiresAt
	case kind <= 8:
		_, err = ks.ClearExpiry(ctx, k.id)
		next.expires = time.Time{}
	case kind == 9:
		_, err = ks.EndGrace(ctx, k.id)
		for i := range next.until {
			next.until[i] = firstTime
		}
	default:
		grace := time.Duration(random.IntN(2)*random.IntN(80)) * time.Millisecond
		token, key, err = ks.Rotate(ctx, k.id, grace, nil)
		deadline := key.GraceUntil // zero: at once
		for i, until := range next.until {
			next.until[i] = earlier(until, deadline)
		}
		next.until = append(next.until, deadline)
	}
	return k.end(next, token, err)
}

// begin notes that a change begins, and returns today's state.
func (k *loadKey) begin(family int) loadState {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := k.versions[len(k.versions)-1].loadState
	state.until = slices.Clone(state.until)
	k.versions = append(k.versions, loadVersion{began: time.Now(), family: family})
	return state
}

// end notes how the change has ended.
func (k *loadKey) end(next loadState, token Token, err error) (wrong []observation, failure error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := len(k.versions) - 1
	now := time.Now()
	before := k.versions[last-1].loadState
	switch {
	case err == nil:
		v := &k.versions[last]
		next.tidy()
		v.ended, v.loadState = now, next
		if !token.IsZero() {
			k.tokens = append(k.tokens, token.Reveal())
		}
	case errors.Is(err, ErrNotFound) && before.mayBePurged(now):
		k.purged = true
		k.versions = k.versions[:last]
	case errors.Is(err, ErrState): // expired, or five secrets are live
		k.versions = k.versions[:last]
	default:
		failure = err
	}
	for _, o := range k.waiting {
		if !k.explains(o) {
			wrong = append(wrong, o)
		}
	}
	k.waiting = nil
	return wrong, failure
}
