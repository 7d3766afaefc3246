package keystore_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

func TestCompareTellsHowTheTargetStands(t *testing.T) {
	m := newMove(t)
	ctx := t.Context()
	var ids []string
	for range 8 {
		_, key := generate(t, m.source)
		ids = append(ids, key.ID)
	}
	m.copy()
	kinds := map[string]string{}
	change := func(i int, kind string, steps ...step) {
		for _, s := range steps {
			s(m, ids[i])
		}
		kinds[ids[i]] = kind
	}
	deleteIn := func(ks *keystore.Keystore) step {
		return func(_ *move, id string) { require.NoError(t, ks.Delete(ctx, id)) }
	}
	change(0, "missing", deleteIn(m.target))
	change(1, "extra", deleteIn(m.source))
	change(2, "older", sourceChanges)
	change(3, "newer", targetRevokes)
	change(4, "diverged", sourceChanges, targetChanges)
	change(5, "diverged", sourceRevokes, targetChanges)
	change(6, "damaged", func(_ *move, id string) {
		r, err := m.from.Get(ctx, id)
		require.NoError(t, err)
		r.Data[0] ^= 1
		require.NoError(t, m.from.Update(ctx, r))
	})
	require.NoError(t, m.from.Touch(ctx, map[string]time.Time{ids[7]: time.Now(), ids[3]: time.Now(), ids[0]: time.Now()}))
	require.NoError(t, m.to.Touch(ctx, map[string]time.Time{ids[2]: time.Now()}))

	from, to := faulty.New(m.from, nil), faulty.New(m.to, nil)
	result, err := keystore.Compare(ctx, from, to, nil)
	require.NoError(t, err)
	require.Zero(t, writesTo(from)+writesTo(to))
	require.Equal(t, int64(7), result.Different())
	found := map[string]string{}
	var order []string
	for _, d := range result.Differences {
		found[d.ID], order = d.Kind, append(order, d.ID)
		require.Equal(t, d.Kind == "damaged", isAny(d.Err, keystore.ErrCorrupt))
		require.Equal(t, d.Kind == "diverged", isAny(d.Err, keystore.ErrConflict))
	}
	require.Equal(t, kinds, found)
	require.IsIncreasing(t, order)
	result.Differences = nil
	require.Equal(t, keystore.CompareResult{Same: 1, Missing: 1, Extra: 1, Older: 1, Newer: 1, Diverged: 2, Damaged: 1, UsedLater: 2}, result)
}

func TestCompareSaysWhichStoreFailed(t *testing.T) {
	m := newMove(t)
	generate(t, m.source)
	broken := faulty.New(memory.New(), faulty.Only(faulty.Refuse(errInjected), faulty.List))
	_, err := keystore.Compare(t.Context(), broken, m.to, nil)
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.ErrorContains(t, err, "source: ")
	result, err := keystore.Compare(t.Context(), m.from, faulty.New(m.to, faulty.Nth(2, faulty.List, faulty.Refuse(errInjected))), nil)
	require.NoError(t, err, "an empty page is the end")
	require.Equal(t, int64(1), result.Missing)
	_, err = keystore.Compare(t.Context(), m.from, broken, nil)
	require.ErrorContains(t, err, "target: ")
}

func TestCompareNamesTheFirstDifferencesAndCountsAll(t *testing.T) {
	m := newMove(t)
	for range 150 {
		generate(t, m.source)
		generate(t, m.target)
	}
	result, err := keystore.Compare(t.Context(), m.from, m.to, nil)
	require.NoError(t, err)
	require.Equal(t, int64(150), result.Missing)
	require.Equal(t, int64(150), result.Extra)
	require.Len(t, result.Differences, 100)
}

// shortPages is a store that gives less than it is asked for, one to three
// records.
type shortPages struct{ backend.Backend }

func (s shortPages) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	if o.After != "" {
		o.Limit = 1 + int(o.After[len(o.After)-1])%3
	}
	return s.Backend.List(ctx, o)
}

// TestPagesNeedNotMatch merges pages of every length.
func TestPagesNeedNotMatch(t *testing.T) {
	m := newMove(t)
	for i := range 100 {
		generate(t, m.source)
		if i%3 == 0 {
			generate(t, m.target)
		}
	}
	result, err := keystore.Copy(t.Context(), shortPages{m.from}, shortPages{m.to}, keystore.InPages(7))
	require.NoError(t, err)
	require.Equal(t, int64(100), result.Created)
	require.Equal(t, lastID(everyRecord(t, m.from)), result.Last)
	compared, err := keystore.Compare(t.Context(), shortPages{m.from}, shortPages{m.to}, nil)
	require.NoError(t, err)
	compared.Differences = nil
	require.Equal(t, keystore.CompareResult{Same: 100, Extra: 34}, compared)
}
