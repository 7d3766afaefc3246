package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"example.com/keystore"
)

// client makes calls at random, one after the other, and records them.
type client struct {
	number int
	ks     *keystore.Keystore
	clock  *manualClock
	owner  string
	record *record
	random *rand.Rand
	round  int
	cached bool // ks has a cache
}

// steps are what a client does, and how often. What ends a key waits for the
// later rounds; see network.settle, too.
var steps = []struct {
	weight int
	final  bool
	step   func(cl *client, ctx context.Context, id string)
}{
	{30, false, (*client).lookup},
	{10, false, (*client).get},
	{18, false, (*client).update},
	{7, false, (*client).disable},
	{14, false, (*client).rotate},
	{6, false, (*client).expire},
	{4, false, (*client).clearExpiry},
	{4, false, (*client).endGrace},
	{7, false, (*client).list},
	{4, false, (*client).purge},
	{3, true, (*client).revoke},
	{1, true, (*client).revokeAll},
	{2, true, (*client).remove},
}

const (
	maxKeys    = 3 // of a history, or one or two more if clients make one at the same time
	firstFinal = 2 // the round from which on keys are revoked and deleted
)

// step makes one call.
func (cl *client) step(ctx context.Context) {
	ctx, cancel := cancellable(ctx)
	defer cancel()
	_, ids := cl.record.known()
	if len(ids) == 0 || len(ids) < maxKeys && cl.random.IntN(8) == 0 {
		cl.generate(ctx)
		return
	}
	sum := 0
	for _, s := range steps {
		sum += s.weight
	}
	at := cl.random.IntN(sum)
	for _, s := range steps {
		if at -= s.weight; at >= 0 {
			continue
		}
		run := s.step
		if s.final && cl.round < firstFinal {
			run = (*client).lookup
		}
		run(cl, ctx, ids[cl.random.IntN(len(ids))])
		return
	}
}

// call makes a call that returns a key, and records it.
func (cl *client) call(c call, make func() (keystore.Key, error)) (view, verdict) {
	began := cl.record.begin()
	key, err := make()
	a := answer{verdict: verdictOf(err), view: viewOf(key)}
	cl.record.add(cl.number, began, c, a)
	return a.view, a.verdict
}

// on is a call on a key at this time.
func (cl *client) on(op, id string) call { return call{op: op, id: id, now: cl.clock.ms()} }

func (cl *client) generate(ctx context.Context) {
	c := cl.on(opGenerate, "")
	c.owner, c.number = cl.owner, cl.record.number()
	if cl.random.IntN(3) == 0 {
		c.at = cl.soon()
	}
	began := cl.record.begin()
	token, key, err := cl.ks.Generate(ctx, keystore.KeyParams{Owner: c.owner, ExpiresAt: timeOf(c.at)})
	c.id = key.ID
	a := answer{verdict: verdictOf(err), view: viewOf(key)}
	cl.record.add(cl.number, began, c, a)
	if !token.IsZero() {
		cl.record.issue(issued{c.id, token.Reveal(), c.number, cl.round})
	}
}

func (cl *client) lookup(ctx context.Context, id string) {
	tokens, _ := cl.record.known()
	tokens = slices.DeleteFunc(tokens, func(i issued) bool { return i.id != id })
	cl.present(ctx, tokens[cl.random.IntN(len(tokens))])
}

// present looks a token up.
func (cl *client) present(ctx context.Context, token issued) {
	c := cl.on(opLookup, token.id)
	c.number = token.number
	began := cl.record.begin()
	result, err := cl.ks.LookupWith(ctx, token.text, keystore.LookupParams{})
	cl.record.add(cl.number, began, c, answer{lookupVerdict(err), viewOf(result.Key), result.Generation})
}

func (cl *client) get(ctx context.Context, id string) {
	cl.call(cl.on(opGet, id), func() (keystore.Key, error) { return cl.ks.Get(ctx, id) })
}

// update adds one, which shows if it is done twice.
func (cl *client) update(ctx context.Context, id string) {
	c := cl.on(opUpdate, id)
	c.params.count = true
	switch cl.random.IntN(8) {
	case 0:
		at := cl.soon()
		c.params.expires = &at
	case 1:
		name := fmt.Sprintf("client %d", cl.number)
		c.params.name = &name
	}
	cl.call(c, func() (keystore.Key, error) { return cl.ks.Update(ctx, id, c.params.function(0)) })
}

func (cl *client) disable(ctx context.Context, id string) {
	c := cl.on(opUpdate, id)
	disabled := cl.random.IntN(3) == 0
	c.params.disabled = &disabled
	cl.call(c, func() (keystore.Key, error) { return cl.ks.Update(ctx, id, c.params.function(0)) })
}

func (cl *client) rotate(ctx context.Context, id string) {
	c := cl.on(opRotate, id)
	c.number, c.grace = cl.record.number(), []int64{0, 40, 200, 1000}[cl.random.IntN(4)]
	if cl.random.IntN(6) == 0 {
		c.at = cl.soon()
	}
	if cl.random.IntN(4) == 0 {
		seen, _ := cl.call(cl.on(opGet, id), func() (keystore.Key, error) { return cl.ks.Get(ctx, id) })
		c.ifRevision = seen.revision
	}
	cl.call(c, func() (keystore.Key, error) {
		token, key, err := cl.ks.Rotate(ctx, id, millis(c.grace), &keystore.RotateParams{ExpiresAt: timeOf(c.at), IfRevision: c.ifRevision})
		if !token.IsZero() {
			cl.record.issue(issued{id, token.Reveal(), c.number, cl.round})
		}
		return key, err
	})
}

func (cl *client) expire(ctx context.Context, id string) {
	c := cl.on(opExpire, id)
	c.at = cl.soon() - 20
	cl.call(c, func() (keystore.Key, error) { return cl.ks.Expire(ctx, id, timeOf(c.at)) })
}

func (cl *client) clearExpiry(ctx context.Context, id string) {
	cl.call(cl.on(opClearExpiry, id), func() (keystore.Key, error) { return cl.ks.ClearExpiry(ctx, id) })
}

func (cl *client) endGrace(ctx context.Context, id string) {
	cl.call(cl.on(opEndGrace, id), func() (keystore.Key, error) { return cl.ks.EndGrace(ctx, id) })
}

func (cl *client) revoke(ctx context.Context, id string) {
	c := cl.on(opRevoke, id)
	c.reason = fmt.Sprintf("by client %d", cl.number)
	cl.call(c, func() (keystore.Key, error) { return cl.ks.Revoke(ctx, id, c.reason) })
}

func (cl *client) remove(ctx context.Context, id string) {
	tokens, _ := cl.record.known()
	for _, i := range tokens {
		if i.id == id && i.round == cl.round {
			cl.get(ctx, id) // perhaps it was generated in this round: see network.settle
			return
		}
	}
	began, c := cl.record.begin(), cl.on(opDelete, id)
	err := cl.ks.Delete(ctx, id)
	cl.record.remove(cl.number, began, c, answer{verdict: verdictOf(err)})
}

// list reads all keys of the owner, by one page or by All. Of each key that is
// known before, an entry or its absence is a read.
func (cl *client) list(ctx context.Context, id string) {
	if cl.cached { // a listing may be ahead of it, while a change is under way
		cl.get(ctx, id)
		return
	}
	_, known := cl.record.known()
	began, now := cl.record.begin(), cl.clock.ms()
	var keys []keystore.Key
	var err error
	if cl.random.IntN(2) == 0 {
		keys, _, err = cl.ks.List(ctx, keystore.ListParams{Owner: cl.owner})
	} else {
		for key, failed := range cl.ks.All(ctx, cl.owner) {
			if err = failed; failed == nil {
				keys = append(keys, key)
			}
		}
	}
	parts := make(map[*call]answer)
	if err == nil {
		for _, key := range keys {
			parts[&call{op: opSeen, id: key.ID, now: now}] = answer{verdict: done, view: viewOf(key)}
			known = slices.DeleteFunc(known, func(id string) bool { return id == key.ID })
		}
		for _, id := range known {
			parts[&call{op: opSeen, id: id, now: now}] = answer{verdict: notFound}
		}
	}
	cl.record.addMany(cl.number, began, verdictOf(err), parts)
}

// purge deletes what can be purged. If it fails, part of that may have happened.
func (cl *client) purge(ctx context.Context, _ string) {
	_, known := cl.record.known()
	began, now := cl.record.begin(), cl.clock.ms()
	_, err := cl.ks.Purge(ctx)
	v := verdictOf(err)
	if v == unavailable {
		v = unknown
	}
	parts := make(map[*call]answer)
	for _, id := range known {
		parts[&call{op: opPurge, id: id, now: now}] = answer{verdict: v}
	}
	cl.record.addMany(cl.number, began, v, parts)
}

// revokeAll may, if it fails, have revoked some keys.
func (cl *client) revokeAll(ctx context.Context, _ string) {
	_, known := cl.record.known()
	began, c := cl.record.begin(), cl.on(opRevokeAll, "")
	c.reason = fmt.Sprintf("all, by client %d", cl.number)
	_, err := cl.ks.RevokeAll(ctx, cl.owner, c.reason)
	a := answer{verdict: verdictOf(err)}
	if err != nil {
		a.verdict = unknown
	}
	cl.record.swept(cl.number, began, c, a, known)
}

// soon is a time that the clock will reach in a round or two.
func (cl *client) soon() int64 { return cl.clock.ms() + 1 + cl.random.Int64N(100) }
