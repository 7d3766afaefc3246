package keystore_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// liar answers calls that worked with something else.
type liar struct {
	backend.Backend
	get  func(backend.Record) backend.Record
	list func(o backend.ListOptions, page []backend.Record) []backend.Record
	send error // of Create, Update and Delete, which are not made
}

func (b *liar) Get(ctx context.Context, id string) (backend.Record, error) {
	r, err := b.Backend.Get(ctx, id)
	if err == nil && b.get != nil {
		r = b.get(r)
	}
	return r, err
}

func (b *liar) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	page, err := b.Backend.List(ctx, o)
	if err == nil && b.list != nil {
		page = b.list(o, page)
	}
	return page, err
}

func (b *liar) Create(ctx context.Context, r backend.Record) error {
	if b.send != nil {
		return b.send
	}
	return b.Backend.Create(ctx, r)
}

func (b *liar) Update(ctx context.Context, r backend.Record) error {
	if b.send != nil {
		return b.send
	}
	return b.Backend.Update(ctx, r)
}

func (b *liar) Delete(ctx context.Context, id string) error {
	if b.send != nil {
		return b.send
	}
	return b.Backend.Delete(ctx, id)
}

// TestAWrongAnswerIsNeverASuccess: the backend returns a record that is not the
// one that was asked for, whole or in part, or damaged.
func TestAWrongAnswerIsNeverASuccess(t *testing.T) {
	for _, c := range []struct {
		name string
		get  func(asked, other backend.Record) backend.Record
	}{
		{"another key of the owner", func(_, other backend.Record) backend.Record { return other }},
		{"another key's data", func(asked, other backend.Record) backend.Record { asked.Data = other.Data; return asked }},
		{"another owner", func(asked, _ backend.Record) backend.Record { asked.Owner = "mallory"; return asked }},
		{"no owner", func(asked, _ backend.Record) backend.Record { asked.Owner = ""; return asked }},
		{"another id", func(asked, other backend.Record) backend.Record { asked.ID = other.ID; return asked }},
		{"a zero record", func(backend.Record, backend.Record) backend.Record { return backend.Record{} }},
		{"no data", func(asked, _ backend.Record) backend.Record { asked.Data = nil; return asked }},
		{"data that is cut", func(asked, _ backend.Record) backend.Record {
			asked.Data = asked.Data[:len(asked.Data)-1]
			return asked
		}},
		{"data that is longer", func(asked, _ backend.Record) backend.Record { asked.Data = append(asked.Data, 0); return asked }},
		{"a flipped bit", func(asked, _ backend.Record) backend.Record {
			asked.Data = bytes.Clone(asked.Data)
			asked.Data[len(asked.Data)/2] ^= 1
			return asked
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := memory.New()
			b := &liar{Backend: inner}
			ks := newStoreOn(t, b, keystore.Options{})
			token, key := generate(t, ks)
			_, otherKey := generate(t, ks)
			other, err := inner.Get(t.Context(), otherKey.ID)
			require.NoError(t, err)
			before, err := inner.Get(t.Context(), key.ID)
			require.NoError(t, err)
			b.get = func(r backend.Record) backend.Record { return c.get(r, other) }

			found, err := ks.Lookup(t.Context(), token)
			requireReason(t, keystore.ReasonCorrupt, err)
			require.ErrorIs(t, err, keystore.ErrCorrupt)
			require.NotErrorIs(t, err, keystore.ErrUnavailable)
			require.Zero(t, found)
			for name, call := range keystoreCalls(ks) {
				switch name {
				case "Get", "Update", "Expire", "ClearExpiry", "Rotate", "EndGrace", "Revoke":
					require.ErrorIs(t, call(t.Context(), key.ID, token), keystore.ErrCorrupt, name)
				}
			}
			for name, call := range viewCalls(ks.ForOwner("owner")) {
				switch name {
				case "Get", "Update", "Expire", "ClearExpiry", "Rotate", "EndGrace", "Revoke":
					err := call(t.Context(), key.ID, token)
					require.True(t, isAny(err, keystore.ErrCorrupt, keystore.ErrNotFound), "%s: %v", name, err)
				}
			}
			after, err := inner.Get(t.Context(), key.ID)
			require.NoError(t, err)
			require.Equal(t, before, after, "nothing is written over it")
		})
	}
}

// TestAWrongPageIsAnOutage: a page out of order could hide keys, or never end.
func TestAWrongPageIsAnOutage(t *testing.T) {
	for _, c := range []struct {
		name string
		list func(o backend.ListOptions, page []backend.Record) []backend.Record
	}{
		{"descending", func(_ backend.ListOptions, page []backend.Record) []backend.Record { slices.Reverse(page); return page }},
		{"one record twice", func(_ backend.ListOptions, page []backend.Record) []backend.Record {
			if len(page) > 0 {
				page = append(page, page[len(page)-1])
			}
			return page
		}},
		{"a record of another owner", func(o backend.ListOptions, page []backend.Record) []backend.Record {
			if len(page) > 0 && o.Owner != "" {
				page[0].Owner = "mallory"
			}
			return page
		}},
		{"the first page again and again", nil},
		{"zero records", func(backend.ListOptions, []backend.Record) []backend.Record { return make([]backend.Record, 3) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := memory.New()
			b := &liar{Backend: inner}
			ks := newStoreOn(t, b, keystore.Options{})
			for range 3 {
				generate(t, ks)
			}
			b.list = c.list
			if c.list == nil {
				first, err := inner.List(t.Context(), backend.ListOptions{Limit: 2})
				require.NoError(t, err)
				b.list = func(backend.ListOptions, []backend.Record) []backend.Record { return slices.Clone(first) }
			}
			_, _, err := ks.List(t.Context(), keystore.ListParams{Owner: "owner"})
			requireOutage(t, err)
			calls, view := keystoreCalls(ks), viewCalls(ks.ForOwner("owner"))
			for name, err := range map[string]error{
				"All": calls["All"](t.Context(), "", ""), "RevokeAll": calls["RevokeAll"](t.Context(), "", ""),
				"OwnerView.List": view["List"](t.Context(), "", ""), "OwnerView.All": view["All"](t.Context(), "", ""),
			} {
				require.Error(t, err, name)
				require.True(t, isAny(err, keystore.ErrUnavailable, keystore.ErrCorrupt), "%s: %v", name, err)
			}
		})
	}
}

// TestADamagedRecordIsSeenInAListing where the page itself is in order.
func TestADamagedRecordIsSeenInAListing(t *testing.T) {
	b := &liar{Backend: memory.New()}
	ks := newStoreOn(t, b, keystore.Options{})
	generate(t, ks)
	_, second := generate(t, ks)
	b.list = func(_ backend.ListOptions, page []backend.Record) []backend.Record {
		for i := range page {
			if page[i].ID == second.ID {
				page[i].Owner, page[i].Data = "mallory", slices.Clone(page[i].Data)
			}
		}
		return page
	}
	keys, _, err := ks.List(t.Context(), keystore.ListParams{})
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.ErrorContains(t, err, second.ID)
	require.Len(t, keys, 1)
	counts, err := ks.CountDigests(t.Context())
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.Equal(t, map[string]int{"sha256$": 1}, counts)
}

// TestASentinelThatAMethodMayNotReturnIsAnOutage: it says nothing of the key,
// and keeps to the errors of this package.
func TestASentinelThatAMethodMayNotReturnIsAnOutage(t *testing.T) {
	for name, send := range map[string]map[string]error{
		"Generate": {"not found": backend.ErrNotFound, "conflict": backend.ErrConflict},
		"Update":   {"exists": backend.ErrExists},
		"Rotate":   {"exists": backend.ErrExists},
		"Revoke":   {"exists": backend.ErrExists},
		"Delete":   {"not found": backend.ErrNotFound, "exists": backend.ErrExists, "conflict": backend.ErrConflict},
	} {
		for what, err := range send {
			t.Run(name+", "+what, func(t *testing.T) {
				b := &liar{Backend: memory.New()}
				ks := newStoreOn(t, b, keystore.Options{})
				token, key := generate(t, ks)
				b.send = err
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				got := keystoreCalls(ks)[name](ctx, key.ID, token)
				requireOutage(t, got)
			})
		}
	}
}

// TestAConflictThatNobodyCausedEnds: a backend that refuses every update does
// not hold a revocation for ever, nor is anything taken for done.
func TestAConflictThatNobodyCausedEnds(t *testing.T) {
	b := &liar{Backend: memory.New()}
	ks := newStoreOn(t, b, keystore.Options{})
	_, key := generate(t, ks)
	b.send = backend.ErrConflict
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := ks.Revoke(ctx, key.ID, "")
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	k, err := ks.Get(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, keystore.Active, k.State(time.Now()))
}
