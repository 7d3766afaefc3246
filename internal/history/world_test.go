package history

import (
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// world is a keystore, and beside it the model of all its keys. Its exported
// methods are the actions that rapid puts into sequences.
type world struct {
	ctx    context.Context
	server server
	name   string // of the store
	handle backend.Backend
	ks     *keystore.Keystore

	rules   rules
	now     int64
	part    time.Duration // of a millisecond, which the keystore has to cut off
	clock   *manualClock
	idle    map[string]bool // owners that are not active
	keys    map[string]state
	ids     []string // of keys, in the order of their creation, those that are gone included
	tokens  []issued
	numbers int

	notes map[string]int64 // last uses that are not written yet
	used  map[string]int64 // and those that are

	ended map[verdict]int // how many calls, by how they ended
}

var owners = []string{"alice", "al", "bob"} // one begins like another

// newWorld opens a store with one key.
func newWorld(t *rapid.T, server server, name string, ended map[verdict]int) *world {
	w := &world{
		ctx: context.Background(), server: server, name: name, clock: newManualClock(), now: start, idle: make(map[string]bool),
		keys: make(map[string]state), notes: make(map[string]int64), used: make(map[string]int64),
		ended: ended,
	}
	w.rules = rules{
		retention:  rapid.SampledFrom([]int64{50, 300}).Draw(t, "retention"),
		maxTTL:     rapid.SampledFrom([]int64{0, 0, 120}).Draw(t, "MaxTTL"),
		defaultTTL: rapid.SampledFrom([]int64{0, 0, 60}).Draw(t, "DefaultTTL"),
		prefix:     "ks",
	}
	w.open(t)
	token, key, err := w.ks.Generate(w.ctx, keystore.KeyParams{Owner: "alice", TTL: 100 * time.Millisecond})
	c := call{op: opGenerate, id: key.ID, now: w.now, owner: "alice", number: w.number(), ttl: 100}
	w.judge(t, c, false, answer{verdict: verdictOf(err), view: viewOf(key)})
	w.remember(token, key, c.number)
	return w
}

func (w *world) open(t *rapid.T) {
	w.handle = w.server.handle(t, w.name)
	ks, err := keystore.New(w.handle, &keystore.Options{
		Prefix: w.rules.prefix, AcceptPrefixes: w.rules.accept, Now: w.clock.now,
		Retention: millis(w.rules.retention), MaxTTL: millis(w.rules.maxTTL), DefaultTTL: millis(w.rules.defaultTTL),
		CacheSize: -1, OwnerActive: func(_ context.Context, owner string) (bool, error) { return !w.idle[owner], nil },
		TouchInterval: time.Hour, PurgeInterval: keystore.Never,
	})
	require.NoError(t, err)
	w.ks = ks
}

// close writes the last uses; what was deleted meanwhile is not made again.
func (w *world) close(t require.TestingT) {
	require.NoError(t, w.ks.Close())
	require.NoError(t, w.handle.Close())
	for id, at := range w.notes {
		w.used[id] = max(w.used[id], at)
	}
	clear(w.notes)
}

// Check compares all keys of the store with the model. It runs after each action.
func (w *world) Check(t *rapid.T) {
	found := make(map[string]view)
	last := ""
	for key, err := range w.ks.All(w.ctx, "") {
		require.NoError(t, err)
		require.Greater(t, key.ID, last, "keys come in the order of their ids")
		last, found[key.ID] = key.ID, viewOf(key)
	}
	require.Equal(t, w.views(""), found)
	w.countDigests(t)
}

// views are the keys of an owner that are there, "" for all owners.
func (w *world) views(owner string) map[string]view {
	all := make(map[string]view)
	for id, s := range w.keys {
		if s.present && (owner == "" || s.owner == owner) {
			all[id] = w.shown(id, s.view(w.now))
		}
	}
	return all
}

// shown is a view with the last use that is written.
func (w *world) shown(id string, v view) view {
	v.lastUsed = w.used[id]
	return v
}

// judge compares the answer of a call with the model's, and lets it have its
// effect. To a caller who sees another owner's keys only, the key is not there.
func (w *world) judge(t *rapid.T, c call, foreign bool, a answer) {
	t.Logf("%s", describe(c, a))
	if c.op != opLookup {
		w.ended[a.verdict]++
	}
	before := w.keys[c.id]
	if foreign {
		before = state{}
	}
	next, want := w.rules.apply(before, c)
	if want.view != (view{}) {
		want.view = w.shown(c.id, want.view)
	}
	require.Equal(t, want, a)
	if !foreign && c.id != "" {
		w.keys[c.id] = next
	}
}

// number is one for a secret that is about to be made.
func (w *world) number() int {
	w.numbers++
	return w.numbers
}

// purgeable are the ids of keys whose retention has passed.
func (w *world) purgeable() (ids []string) {
	for id, s := range w.keys {
		if at := s.purgeAt(w.rules); s.present && at != never && at <= w.now {
			ids = append(ids, id)
		}
	}
	return ids
}

// manager is what a Keystore and an OwnerView have in common.
type manager interface {
	Get(ctx context.Context, id string) (keystore.Key, error)
	Update(ctx context.Context, id string, fn func(*keystore.Changes) error) (keystore.Key, error)
	Expire(ctx context.Context, id string, at time.Time) (keystore.Key, error)
	ClearExpiry(ctx context.Context, id string) (keystore.Key, error)
	Rotate(ctx context.Context, id string, grace time.Duration, p *keystore.RotateParams) (keystore.Token, keystore.Key, error)
	EndGrace(ctx context.Context, id string) (keystore.Key, error)
	Revoke(ctx context.Context, id, reason string) (keystore.Key, error)
	Delete(ctx context.Context, id string) error
}

// pick draws a key and who manages it: mostly one that is there, and one to whom
// it is not foreign.
func (w *world) pick(t *rapid.T) (id string, m manager, foreign bool) {
	ids := slices.DeleteFunc(slices.Clone(w.ids), func(id string) bool { return !w.keys[id].present })
	if len(w.ids) == 0 {
		t.Skip("there is no key yet")
	}
	if len(ids) == 0 || chance(t, 12, "may be gone") {
		ids = w.ids
	}
	id = rapid.SampledFrom(ids).Draw(t, "key")
	if !chance(t, 5, "through a view") {
		return id, w.ks, false
	}
	viewer := rapid.SampledFrom(owners).Draw(t, "viewer")
	return id, w.ks.ForOwner(viewer), w.keys[id].owner != viewer
}

// future draws a time soon, past one that was or is.
func (w *world) future(t *rapid.T) int64 {
	return w.now + rapid.Int64Range(1, 150).Draw(t, "in milliseconds")
}

func (w *world) past(t *rapid.T) int64 {
	return w.now - rapid.Int64Range(0, 100).Draw(t, "milliseconds ago")
}

// at is a time as it is passed to the keystore: not in whole milliseconds.
func (w *world) at(ms int64) time.Time {
	if ms == never {
		return time.Time{}
	}
	return timeOf(ms).Add(w.part)
}

// chance is one in so many. It shrinks to false. SampledFrom is even, where
// IntRange prefers small numbers.
func chance(t *rapid.T, of int, what string) bool {
	return rapid.SampledFrom(append(make([]bool, of-1), true)).Draw(t, what)
}

// seldom skips most actions of a kind, of which many would leave little to test.
func seldom(t *rapid.T, of int) {
	if !chance(t, of, "really") {
		t.Skip("seldom")
	}
}
