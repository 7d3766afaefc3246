package keystore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keyStates are all the states that a key can be in, with their parts.
var keyStates = []struct {
	name                       string
	revoked, disabled, expired bool
	state                      State
	reason                     Reason
	err                        error
}{
	{"active", false, false, false, Active, "", nil},
	{"expired", false, false, true, Expired, ReasonExpired, ErrExpired},
	{"disabled", false, true, false, Disabled, ReasonDisabled, ErrDisabled},
	{"disabled and expired", false, true, true, Disabled, ReasonDisabled, ErrDisabled},
	{"revoked", true, false, false, Revoked, ReasonRevoked, ErrRevoked},
	{"revoked and expired", true, false, true, Revoked, ReasonRevoked, ErrRevoked},
	{"revoked and disabled", true, true, false, Revoked, ReasonRevoked, ErrRevoked},
	{"revoked, disabled and expired", true, true, true, Revoked, ReasonRevoked, ErrRevoked},
}

// inState makes a key in a state, with an older secret that its grace period has
// not outlived. The clock then reads noon.
func inState(f *fixture, revoked, disabled, expired bool) (Token, Key) {
	f.t.Helper()
	ctx := context.Background()
	f.clock.set(testNoon.Add(-time.Hour))
	_, key := f.generate(KeyParams{Scopes: []string{"orders:*"}, TTL: 2 * time.Hour})
	token, key, err := f.Rotate(ctx, key.ID, 10*time.Hour, nil)
	require.NoError(f.t, err)
	if expired {
		key, err = f.Expire(ctx, key.ID, testNoon)
		require.NoError(f.t, err)
	}
	if disabled {
		key, err = f.Update(ctx, key.ID, func(c *Changes) error { c.Disabled = true; return nil })
		require.NoError(f.t, err)
	}
	if revoked {
		key, err = f.Revoke(ctx, key.ID, "first reason")
		require.NoError(f.t, err)
	}
	f.clock.set(testNoon)
	return token, key
}

// manage are the calls that change a key, by name.
func manage(f *fixture, id string) map[string]func() (Key, error) {
	ctx := context.Background()
	update := func(change func(c *Changes)) func() (Key, error) {
		return func() (Key, error) {
			return f.Update(ctx, id, func(c *Changes) error { change(c); return nil })
		}
	}
	return map[string]func() (Key, error){
		"update":  update(func(c *Changes) { c.Name = "new" }),
		"disable": update(func(c *Changes) { c.Disabled = true }),
		"enable":  update(func(c *Changes) { c.Disabled = false }),
		"extend":  update(func(c *Changes) { c.ExpiresAt = testNoon.Add(5 * time.Hour) }),
		"expire":  func() (Key, error) { return f.Expire(ctx, id, testNoon.Add(5*time.Hour)) },
		"clear":   func() (Key, error) { return f.ClearExpiry(ctx, id) },
		"rotate": func() (Key, error) {
			token, k, err := f.Rotate(ctx, id, 0, nil)
			require.Equal(f.t, err == nil, !token.IsZero())
			return k, err
		},
		"rotate later": func() (Key, error) {
			_, k, err := f.Rotate(ctx, id, 0, &RotateParams{ExpiresAt: testNoon.Add(9 * time.Hour)})
			return k, err
		},
		"end grace": func() (Key, error) { return f.EndGrace(ctx, id) },
		"revoke":    func() (Key, error) { return f.Revoke(ctx, id, "second reason") },
		"get":       func() (Key, error) { return f.Get(ctx, id) },
	}
}

func TestWhatAStateAllows(t *testing.T) {
	for _, c := range keyStates {
		for name := range manage(nil, "") {
			f := newFixture(t)
			token, key := inState(f, c.revoked, c.disabled, c.expired)
			before := f.stored(key.ID)

			allowed := true
			switch {
			case c.revoked:
				allowed = name == "get" || name == "revoke"
			case c.expired:
				allowed = !strings.HasPrefix(name, "rotate") && name != "end grace"
			}
			changed, err := manage(f, key.ID)[name]()
			if !allowed {
				require.ErrorIs(t, err, ErrState, "%s: %s", c.name, name)
				require.NotErrorIs(t, err, ErrUnauthenticated)
				require.ErrorContains(t, err, key.ID)
				require.Equal(t, Key{}, changed)
				require.Equal(t, before, f.stored(key.ID), "nothing was written")
				require.Equal(t, c.reason, f.reason(token))
				continue
			}
			require.NoError(t, err, "%s: %s", c.name, name)
			got, err := f.Get(context.Background(), key.ID)
			require.NoError(t, err)
			require.Equal(t, got, changed, "%s: %s returns the key as it is now", c.name, name)
			require.Equal(t, f.stored(key.ID).Revision, changed.Revision())
			if c.revoked {
				require.Equal(t, before, f.stored(key.ID), "revoking again changes nothing")
			}
		}
		f := newFixture(t)
		token, key := inState(f, c.revoked, c.disabled, c.expired)
		keys, _, err := f.List(context.Background(), ListParams{})
		require.NoError(t, err)
		require.Equal(t, []string{key.ID}, idsOf(keys))
		require.NoError(t, f.Delete(context.Background(), key.ID))
		require.Equal(t, ReasonUnknownKey, f.reason(token))
	}
}

func TestPrecedenceOfStates(t *testing.T) {
	for _, c := range keyStates {
		f := newFixture(t)
		token, _ := inState(f, c.revoked, c.disabled, c.expired)
		got, err := f.Get(context.Background(), token.ID())
		require.NoError(t, err)
		require.Equal(t, c.state, got.State(testNoon), c.name)
		for _, scopes := range [][]string{nil, {"orders:a"}, {"missing"}} {
			key, err := f.Lookup(context.Background(), token.Reveal(), scopes...)
			if c.err == nil {
				require.Equal(t, slices.Contains(scopes, "missing"), errors.Is(err, ErrMissingScope))
				continue
			}
			require.ErrorIs(t, err, c.err, "%s: the state comes before the scopes", c.name)
			require.ErrorIs(t, err, ErrUnauthenticated)
			require.Equal(t, Key{}, key)
			var refused *LookupError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, []string{string(c.reason), token.ID(), "alice"}, []string{string(refused.Reason), refused.KeyID, refused.Owner})
			require.NotContains(t, err.Error(), token.ID())
			require.NotContains(t, err.Error(), "alice")
			for _, other := range []error{ErrExpired, ErrRevoked, ErrDisabled, ErrOwnerInactive, ErrMissingScope, ErrState} {
				require.Equal(t, other == c.err, errors.Is(err, other), "%v is %v", err, other)
			}
		}
	}
}

func TestTheFirstRevocationStays(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{TTL: time.Hour})
	first, err := f.Revoke(ctx, key.ID, "first")
	require.NoError(t, err)
	require.Equal(t, []any{testNoon, "first"}, []any{first.RevokedAt, first.RevokeReason})
	for range 3 {
		f.clock.add(2 * time.Hour)
		again, err := f.Revoke(ctx, key.ID, "later")
		require.NoError(t, err)
		require.Equal(t, first, again)
		n, err := f.RevokeAll(ctx, "alice", "later")
		require.NoError(t, err)
		require.Zero(t, n)
	}
	for _, at := range []time.Time{firstTime, testNoon.Add(-time.Hour), testNoon.AddDate(1000, 0, 0)} {
		f.clock.set(at)
		require.Equal(t, ReasonRevoked, f.reason(token), "whatever the clock says")
	}
	for name, change := range manage(f, key.ID) {
		if _, err := change(); name != "get" && name != "revoke" {
			require.ErrorIs(t, err, ErrState)
		}
		require.Equal(t, ReasonRevoked, f.reason(token), "after %s", name)
	}
}

func TestRevokeAllIsOfOneOwner(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	var alices, others []Token
	for i := range 450 { // more than two pages of the walk
		token, _ := f.generate(KeyParams{Owner: []string{"alice", "alice2", "Alice", "alic", "alice\u0301"}[i%5]})
		if i%5 == 0 {
			alices = append(alices, token)
		} else {
			others = append(others, token)
		}
	}
	_, err := f.Revoke(ctx, alices[3].ID(), "before")
	require.NoError(t, err)
	n, err := f.RevokeAll(ctx, "alice", "incident")
	require.NoError(t, err)
	require.Equal(t, 89, n)
	for _, token := range alices {
		require.Equal(t, ReasonRevoked, f.reason(token))
	}
	for _, token := range others {
		require.True(t, f.works(token))
	}
	key, err := f.Get(ctx, alices[3].ID())
	require.NoError(t, err)
	require.Equal(t, "before", key.RevokeReason)
}

func TestRefusalsOfOutsidersReadAlike(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := inState(f, true, true, true)
	text := token.Reveal()
	body := text[:len(text)-checkLen-secretLen] + strings.Repeat("x", secretLen)
	wrongSecret := body + referenceChecksum(body)
	body = strings.Replace(body, key.ID, strings.Repeat("0", idLen), 1)
	unknownKey := body + referenceChecksum(body)

	for text, want := range map[string]LookupError{
		"nonsense":              {Reason: ReasonMalformed},
		"other" + text[7:]:      {Reason: ReasonUnknownPrefix},
		text[:len(text)-1]:      {Reason: ReasonMalformed},
		unknownKey:              {Reason: ReasonUnknownKey, KeyID: strings.Repeat("0", idLen)},
		wrongSecret:             {Reason: ReasonWrongSecret, KeyID: key.ID},
		wrongSecret[:60] + "0x": {Reason: ReasonMalformed},
	} {
		key, err := f.Lookup(ctx, text, "orders:a")
		require.Equal(t, Key{}, key)
		require.ErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, "invalid API key", err.Error(), "and of the key's state no word")
		for _, state := range []error{ErrExpired, ErrRevoked, ErrDisabled, ErrOwnerInactive} {
			require.NotErrorIs(t, err, state)
		}
		var refused *LookupError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, want, LookupError{Reason: refused.Reason, KeyID: refused.KeyID, Owner: refused.Owner}, "%q", text)
		result, err := f.LookupWith(ctx, text, LookupParams{})
		require.ErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, Result{}, result)
	}
}

func TestUnknownKeysAreNotFoundByEveryCall(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	for _, id := range []string{"0000000000000000", "", "short", "0VmNmGnm8k2QpXw", "0VmNmGnm8k2QpXw12", "0VmNmGnm8k2QpXw-", "../../../../etc/", "0VmNmGnm8k2QpXw\x00", "ÄÄÄÄÄÄÄÄ"} {
		for name, call := range manage(f, id) {
			key, err := call()
			require.ErrorIs(t, err, ErrNotFound, "%s %q", name, id)
			require.Equal(t, Key{}, key)
		}
		require.ErrorIs(t, f.Delete(ctx, id), ErrNotFound)
	}
}

func TestUpdateChangesWhatItsFunctionChanged(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Name: "n", Description: "d", Scopes: []string{"b", "a"}, Metadata: map[string]string{"k": "v"}, TTL: time.Hour})
	want := Changes{Name: "n", Description: "d", Scopes: []string{"a", "b"}, Metadata: map[string]string{"k": "v"}, ExpiresAt: key.ExpiresAt, Revision: 1}
	stop := errors.New("stop")
	got, err := f.Update(ctx, key.ID, func(c *Changes) error {
		require.Equal(t, want, *c)
		c.Name, c.Scopes[0], c.Metadata["k"] = "changed", "changed", "changed"
		return stop
	})
	require.Equal(t, stop, err, "as it is")
	require.Equal(t, Key{}, got)
	for name, same := range map[string]func(c *Changes){
		"nothing": func(*Changes) {},
		"order":   func(c *Changes) { c.Scopes = []string{"b", "a", "b"} },
		"zone":    func(c *Changes) { c.ExpiresAt = c.ExpiresAt.In(time.FixedZone("", 3600)) },
		"copies":  func(c *Changes) { c.Metadata = maps.Clone(c.Metadata) },
	} {
		got, err := f.Update(ctx, key.ID, func(c *Changes) error { same(c); return nil })
		require.NoError(t, err)
		require.Equal(t, key, got, name)
		require.Zero(t, f.store.updates.Load(), "%s: nothing to write", name)
	}
	for i, change := range []func(c *Changes){
		func(c *Changes) { c.Name = "" },
		func(c *Changes) { c.Description = "other" },
		func(c *Changes) { c.Scopes = nil },
		func(c *Changes) { c.Metadata["l"] = "w"; delete(c.Metadata, "k") },
		func(c *Changes) { c.ExpiresAt = time.Time{} },
		func(c *Changes) { c.Disabled = true },
	} {
		change(&want)
		got, err := f.Update(ctx, key.ID, func(c *Changes) error { change(c); return nil })
		require.NoError(t, err)
		require.Equal(t, uint64(i+2), got.Revision())
		require.Equal(t, want, Changes{
			Name: got.Name, Description: got.Description, Scopes: slices.Collect(got.Scopes.All()),
			Metadata: maps.Collect(got.Metadata.All()), ExpiresAt: got.ExpiresAt, Disabled: got.Disabled,
			Revision: want.Revision, // which is for comparing only
		})
	}
	require.Equal(t, ReasonDisabled, f.reason(token))
	_, err = f.Update(ctx, key.ID, func(c *Changes) error { c.Disabled = false; return nil })
	require.NoError(t, err)
	require.True(t, f.works(token))
}

func TestANewKeySaysWhatWasAskedFor(t *testing.T) {
	f := newFixture(t)
	metadata := map[string]string{"plan": "pro", "": "x"}
	token, key := f.generate(KeyParams{
		Owner: "größe\n", Name: "n\x00", Description: "d", Scopes: []string{"b", "a"}, Metadata: metadata, ExpiresAt: testNoon.Add(time.Hour),
	})
	metadata["plan"] = "changed"
	plan, _ := key.Metadata.Get("plan")
	_, missing := key.Metadata.Get("other")
	require.Equal(t, []any{"pro", false, 2}, []any{plan, missing, key.Metadata.Len()})
	found, err := f.Lookup(context.Background(), token.Reveal(), "a", "b")
	require.NoError(t, err)
	require.Equal(t, key, found)
	require.Equal(t, Key{
		ID: token.ID(), Owner: "größe\n", Name: "n\x00", Description: "d", Prefix: "sk_test", Scopes: Scopes{[]string{"a", "b"}},
		Metadata: Metadata{[]pair{{"", "x"}, {"plan", "pro"}}}, CreatedAt: testNoon, ExpiresAt: testNoon.Add(time.Hour), Generation: 1, revision: 1,
	}, key)
}

func TestReasonsAreDistinctWords(t *testing.T) {
	reasons := []Reason{
		ReasonMalformed, ReasonUnknownPrefix, ReasonUnknownKey, ReasonWrongSecret, ReasonSuperseded, ReasonExpired, ReasonRevoked, ReasonDisabled, ReasonOwnerInactive,
		ReasonMissingScope, ReasonInvalidScope, ReasonUnknownHash, ReasonOwnerCheck, ReasonUnavailable, ReasonCorrupt, ReasonClosed,
	}
	slices.Sort(reasons)
	require.Len(t, slices.Compact(slices.Clone(reasons)), 16)
	for _, r := range reasons {
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, string(r))
	}
}
