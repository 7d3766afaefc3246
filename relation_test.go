package keystore

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// TestARevocationIsNeverUndone judges every combination of what two records can
// know of each other and of what is revoked, those included which no keystore
// makes, and copies one onto the other.
func TestARevocationIsNeverUndone(t *testing.T) {
	const source, target, common = "source..", "target..", "common.."
	histories := map[string]struct{ source, target string }{
		"source follows":                 {source + target + common, target + common},
		"target follows":                 {source + common, target + source + common},
		"diverged":                       {source + common, target + common},
		"strangers":                      {source, target},
		"same last write, yet different": {common, common},
		"each follows the other":         {source + target, target + source},
	}
	want := map[string]map[string]relation{
		"source follows": {"none": isOlder, "source": isOlder, "target": isDiverged, "both": isOlder},
		"target follows": {"none": isNewer, "source": isUnrevoked, "target": isNewer, "both": isNewer},
	}
	for _, name := range []string{"diverged", "strangers", "same last write, yet different", "each follows the other"} {
		want[name] = map[string]relation{"none": isDiverged, "source": isUnrevoked, "target": isDiverged, "both": isNewer}
	}
	for name, h := range histories {
		for which, rel := range want[name] {
			t.Run(fmt.Sprintf("%s, revoked: %s", name, which), func(t *testing.T) {
				f, other := newFixture(t), newFixture(t)
				token, key := f.generate(KeyParams{})
				other.store.Create(t.Context(), f.stored(key.ID))
				write := func(f *fixture, name, ids string, revoked bool) {
					f.rewrite(key.ID, func(r *record) {
						r.key.Name, r.writeIDs = name, ids
						if revoked {
							r.key.RevokedAt, r.key.RevokeReason = testNoon, name
						}
					})
				}
				write(f, "source", h.source, which == "source" || which == "both")
				write(other, "target", h.target, which == "target" || which == "both")
				from, to := f.stored(key.ID), other.stored(key.ID)
				got, _ := twins{&from, &to}.relation()
				require.Equal(t, rel, got)

				result, _ := Copy(t.Context(), f.store, other.store, nil)
				require.Equal(t, int64(1), result.Read)
				copied, err := other.Get(t.Context(), key.ID)
				require.NoError(t, err)
				require.Equal(t, which != "none", !copied.RevokedAt.IsZero(), "revoked in either is revoked in the target")
				require.Equal(t, rel == isOlder, copied.Name == "source", "nothing of the target is lost but to what follows it")
				require.Equal(t, which == "none", other.works(token))
			})
		}
	}
}

// A PurgeAt that differs under equal Data is somebody's repair; it is not a
// difference that stays for ever.
func TestPurgeAtIsCopied(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	_, key := f.generate(KeyParams{})
	r := f.stored(key.ID)
	r.PurgeAt = testNoon.Add(time.Hour)
	require.NoError(t, other.store.Create(t.Context(), r))
	for _, want := range []CopyResult{{Updated: 1}, {Unchanged: 1}} {
		result, err := Copy(t.Context(), f.store, other.store, nil)
		require.NoError(t, err)
		want.Read, want.Last = 1, key.ID
		require.Equal(t, want, result)
	}
	require.Zero(t, other.stored(key.ID).PurgeAt)
}

// A store that answers with a page out of order would make a merge skip keys.
func TestCopyChecksTheOrderOfPages(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.generate(KeyParams{})
	f.generate(KeyParams{})
	for _, s := range []*fixture{f, other} {
		s.store.list = func(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
			page, err := f.store.Backend.List(ctx, backend.ListOptions{Limit: o.Limit})
			slices.Reverse(page)
			return page, err
		}
		_, err := Copy(t.Context(), f.store, other.store, nil)
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, "out of order")
		s.store.list = nil
	}
}
