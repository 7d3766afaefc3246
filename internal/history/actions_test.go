package history

import (
	"errors"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/keystore"
)

// Generate makes a key, or is refused for one of its parameters.
func (w *world) Generate(t *rapid.T) {
	if chance(t, 5, "through a view") {
		w.generateOfOwner(t)
		return
	}
	c := call{op: opGenerate, now: w.now, owner: rapid.SampledFrom(owners).Draw(t, "owner"), number: w.number()}
	field := ""
	c.params, field = drawEdit(t)
	c.params.expires, c.params.disabled, c.params.count, c.params.stop = nil, nil, false, false
	c.reserved = chance(t, 2, "reserved scopes allowed")
	switch rapid.SampledFrom([]string{"none", "none", "none", "at", "lifetime", "lifetime", "at", "past", "both", "negative"}).Draw(t, "expiry") {
	case "at":
		c.at = w.future(t)
	case "lifetime":
		c.ttl = rapid.Int64Range(1, 150).Draw(t, "lifetime")
	case "past":
		c.at = w.past(t)
	case "both":
		c.at, c.ttl = w.future(t), 10
	case "negative":
		c.ttl = -10
	}
	p := c.params.params()
	p.Owner, p.ExpiresAt, p.TTL, p.AllowReserved = c.owner, w.at(c.at), millis(c.ttl), c.reserved
	if chance(t, 12, "bad owner") {
		p.Owner, c.wrong = rapid.SampledFrom(badOwners).Draw(t, "owner"), true
	}
	token, key, err := w.ks.Generate(w.ctx, p)
	c.id = key.ID
	w.judge(t, c, false, answer{verdict: verdictOf(err), view: viewOf(key)})
	require.Equal(t, err != nil, token.IsZero())
	switch {
	case err == nil:
		w.remember(token, key, c.number)
	case field != "" && !c.wrong:
		requireField(t, err, field)
	}
}

// generateOfOwner makes a key through the view of an owner, who cannot make one
// for another.
func (w *world) generateOfOwner(t *rapid.T) {
	c := call{op: opGenerate, now: w.now, owner: rapid.SampledFrom(owners).Draw(t, "viewer"), number: w.number()}
	asked := rapid.SampledFrom(append(owners, "")).Draw(t, "owner")
	c.wrong = asked != "" && asked != c.owner
	token, key, err := w.ks.ForOwner(c.owner).Generate(w.ctx, keystore.KeyParams{Owner: asked})
	c.id = key.ID
	w.judge(t, c, false, answer{verdict: verdictOf(err), view: viewOf(key)})
	if err == nil {
		w.remember(token, key, c.number)
	}
}

func (w *world) remember(token keystore.Token, key keystore.Key, number int) {
	if !slices.Contains(w.ids, key.ID) {
		w.ids = append(w.ids, key.ID)
	}
	w.tokens = append(w.tokens, issued{id: key.ID, text: token.Reveal(), number: number})
}

func requireField(t *rapid.T, err error, field string) {
	named, ok := errors.AsType[*keystore.FieldError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, field, named.Field)
}

// change makes a call that returns a key.
func (w *world) change(t *rapid.T, c call, foreign bool, make func() (keystore.Key, error)) error {
	c.now = w.now
	key, err := make()
	w.judge(t, c, foreign, answer{verdict: verdictOf(err), view: viewOf(key)})
	return err
}

// Get reads a key.
func (w *world) Get(t *rapid.T) {
	id, m, foreign := w.pick(t)
	w.change(t, call{op: opGet, id: id}, foreign, func() (keystore.Key, error) { return m.Get(w.ctx, id) })
}

// Update changes everything that it can, or is refused for one of the changes.
func (w *world) Update(t *rapid.T) {
	id, m, foreign := w.pick(t)
	c := call{op: opUpdate, id: id}
	field := ""
	c.params, field = drawEdit(t)
	state := w.keys[id].condition(w.now)
	err := w.change(t, c, foreign, func() (keystore.Key, error) { return m.Update(w.ctx, id, c.params.function(w.part)) })
	if field != "" && !foreign && !c.params.stop && w.keys[id].present && state != "revoked" {
		requireField(t, err, field)
	}
}

// UpdateExpiry moves the expiry, within what Update may do and beyond.
func (w *world) UpdateExpiry(t *rapid.T) {
	id, m, foreign := w.pick(t)
	at := rapid.SampledFrom([]func(*rapid.T) int64{
		w.future, w.past, func(*rapid.T) int64 { return never }, func(*rapid.T) int64 { return w.keys[id].expires },
	}).Draw(t, "kind of expiry")(t)
	c := call{op: opUpdate, id: id, params: edit{expires: &at, count: chance(t, 2, "count")}}
	w.change(t, c, foreign, func() (keystore.Key, error) { return m.Update(w.ctx, id, c.params.function(w.part)) })
}

// Expire moves the expiry, too, into the past as well.
func (w *world) Expire(t *rapid.T) {
	id, m, foreign := w.pick(t)
	c := call{op: opExpire, id: id}
	switch rapid.SampledFrom([]string{"future", "future", "future", "past", "past", "zero"}).Draw(t, "expiry") {
	case "future":
		c.at = w.future(t)
	case "past":
		c.at = w.past(t)
	case "zero":
		c.wrong = true // ClearExpiry is for that
	}
	w.change(t, c, foreign, func() (keystore.Key, error) { return m.Expire(w.ctx, id, w.at(c.at)) })
}

// ClearExpiry makes a key that does not expire.
func (w *world) ClearExpiry(t *rapid.T) {
	id, m, foreign := w.pick(t)
	w.change(t, call{op: opClearExpiry, id: id}, foreign, func() (keystore.Key, error) { return m.ClearExpiry(w.ctx, id) })
}

// Rotate gives a key a new secret.
func (w *world) Rotate(t *rapid.T) {
	id, m, foreign := w.pick(t)
	c := call{op: opRotate, id: id, number: w.number(), grace: rapid.SampledFrom([]int64{0, 10, 40, 100, 1000, -1}).Draw(t, "grace")}
	c.wrong = c.grace < 0
	switch rapid.SampledFrom([]string{"as before", "as before", "as before", "as before", "future", "future", "past"}).Draw(t, "expiry") {
	case "future":
		c.at = w.future(t)
	case "past":
		c.at = w.past(t)
	}
	if chance(t, 4, "only at a revision") {
		c.ifRevision = w.keys[id].revision + rapid.SampledFrom([]uint64{0, 0, 1}).Draw(t, "ahead")
	}
	w.rotate(t, c, m, foreign)
}

// RotateOften rotates one key until it has as many secrets as it can have, and
// remembers as many as it does.
func (w *world) RotateOften(t *rapid.T) {
	seldom(t, 2)
	id, m, foreign := w.pick(t)
	grace := rapid.SampledFrom([]int64{0, 40, 1000}).Draw(t, "grace")
	for range rapid.IntRange(2, 7).Draw(t, "times") {
		w.rotate(t, call{op: opRotate, id: id, number: w.number(), grace: grace}, m, foreign)
	}
	w.LookupOfAll(t)
}

func (w *world) rotate(t *rapid.T, c call, m manager, foreign bool) {
	w.change(t, c, foreign, func() (keystore.Key, error) {
		token, key, err := m.Rotate(w.ctx, c.id, millis(c.grace), &keystore.RotateParams{ExpiresAt: w.at(c.at), IfRevision: c.ifRevision})
		require.Equal(t, err != nil, token.IsZero())
		if err == nil {
			w.remember(token, key, c.number)
		}
		return key, err
	})
}

// EndGrace leaves the current secret alone.
func (w *world) EndGrace(t *rapid.T) {
	id, m, foreign := w.pick(t)
	w.change(t, call{op: opEndGrace, id: id}, foreign, func() (keystore.Key, error) { return m.EndGrace(w.ctx, id) })
}

// Revoke ends a key.
func (w *world) Revoke(t *rapid.T) {
	seldom(t, 3)
	id, m, foreign := w.pick(t)
	c := call{op: opRevoke, id: id, reason: rapid.SampledFrom([]string{"", "leaked", long1024, long1024 + "!"}).Draw(t, "reason")}
	c.wrong = len(c.reason) > len(long1024)
	w.change(t, c, foreign, func() (keystore.Key, error) { return m.Revoke(w.ctx, id, c.reason) })
}

// RevokeAll ends the keys of an owner, and counts those that it ended.
func (w *world) RevokeAll(t *rapid.T) {
	seldom(t, 6)
	owner := rapid.SampledFrom(owners).Draw(t, "owner")
	revoked := 0
	for _, s := range w.keys {
		if s.present && s.owner == owner && s.revoked == never {
			revoked++
		}
	}
	n, err := w.ks.RevokeAll(w.ctx, owner, "all")
	require.NoError(t, err)
	require.Equal(t, revoked, n)
	for id := range w.views(owner) {
		w.keys[id], _ = w.rules.apply(w.keys[id], call{op: opRevokeAll, id: id, now: w.now, reason: "all"})
	}
}

// Delete removes a key.
func (w *world) Delete(t *rapid.T) {
	seldom(t, 4)
	id, m, foreign := w.pick(t)
	w.change(t, call{op: opDelete, id: id}, foreign, func() (keystore.Key, error) { return keystore.Key{}, m.Delete(w.ctx, id) })
	if !w.keys[id].present {
		delete(w.used, id)
		delete(w.notes, id)
	}
}

// Purge deletes the keys whose retention has passed, and counts them.
func (w *world) Purge(t *rapid.T) {
	gone := w.purgeable()
	n, err := w.ks.Purge(w.ctx)
	require.NoError(t, err)
	require.Equal(t, len(gone), n)
	for _, id := range gone {
		w.keys[id] = w.keys[id].gone()
		delete(w.used, id)
		delete(w.notes, id)
	}
}

// List reads the keys of an owner, or all, page by page.
func (w *world) List(t *rapid.T) {
	viewer := rapid.SampledFrom(append(owners, "")).Draw(t, "viewer")
	p := keystore.ListParams{Owner: viewer, Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
	list := w.ks.List
	if viewer != "" && chance(t, 2, "through the view") {
		list = w.ks.ForOwner(viewer).List
	}
	want := w.views(viewer)
	ids := slices.Sorted(maps.Keys(want))
	for {
		keys, next, err := list(w.ctx, p)
		require.NoError(t, err)
		for _, key := range keys {
			require.NotEmpty(t, ids, "more keys than there are")
			require.Equal(t, ids[0], key.ID)
			require.Equal(t, want[key.ID], viewOf(key))
			ids = ids[1:]
		}
		if next == "" {
			break
		}
		require.Len(t, keys, p.Limit, "a page that is not the last is full")
		require.Equal(t, keys[len(keys)-1].ID, next)
		p.After = next
	}
	require.Empty(t, ids, "all keys are listed")
}

// countDigests counts the secrets that work, those of dead keys included.
func (w *world) countDigests(t *rapid.T) {
	want := make(map[string]int)
	for _, s := range w.keys {
		for _, known := range s.secrets {
			if s.present && known.live(w.now) {
				want["sha256$"]++
			}
		}
	}
	counts, err := w.ks.CountDigests(w.ctx)
	require.NoError(t, err)
	require.Equal(t, want, counts)
}
