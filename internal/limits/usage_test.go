package limits

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// usage counts lookups in three processes, in hours of two days, by how they ended.
// All is there when the processes have closed their keystores.
func usage(t *testing.T, f *fleet) {
	f.open(t, settings{})
	params := keystore.KeyParams{Scopes: []string{"orders:read"}, Limits: []keystore.Limit{limit("hour", 50, time.Hour)}}
	id, token := f.key(t, params)
	other, otherToken := f.key(t, params) // of the same owner
	midnight := noon.Add(12 * time.Hour)
	hours := []time.Time{noon, midnight.Add(-time.Hour), midnight}
	var want, sums []keystore.Usage
	for _, hour := range hours {
		now := hour.Add(time.Hour - time.Millisecond)
		q := request{Callers: 64, Each: 1, Tokens: []string{token}, Scope: "orders:write"}
		require.Equal(t, map[keystore.Reason]int{keystore.ReasonMissingScope: 64}, f.look(t, now, q).by())
		q.Scope = "orders:read"
		require.Equal(t, map[keystore.Reason]int{"": 50, keystore.ReasonRateLimited: 14}, f.look(t, now, q).by())
		q.Tokens, q.Callers, q.Costs = []string{otherToken}, 6, []int64{5}
		require.Equal(t, map[keystore.Reason]int{"": 6}, f.look(t, now, q).by())
		q.Peek = true // counts as nothing, however it ends
		f.look(t, now, q)
		q.Tokens = []string{token}
		require.Equal(t, map[keystore.Reason]int{keystore.ReasonRateLimited: 6}, f.look(t, now, q).by())
		q.Scope = "orders:write"
		require.Equal(t, map[keystore.Reason]int{keystore.ReasonMissingScope: 6}, f.look(t, now, q).by())
		want = append(want, keystore.Usage{Start: hour, Allowed: 50, Limited: 14, MissingScope: 64, Cost: 50})
		sums = append(sums, keystore.Usage{Start: hour, Allowed: 56, Limited: 14, MissingScope: 64, Cost: 80})
	}
	f.each(t, request{Do: "close"})
	f.admin.clock.set(midnight.Add(time.Hour).UnixMilli(), false)
	ctx := context.Background()
	got, err := f.admin.usage(id)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = f.admin.usage(other)
	require.NoError(t, err)
	require.Len(t, got, len(hours))
	got = nil
	for u, err := range f.admin.keys.OwnerUsage(ctx, "owner-of-"+t.Name(), noon, midnight.Add(time.Hour)) {
		require.NoError(t, err)
		got = append(got, u)
	}
	require.Equal(t, sums, got)
	f.open(t, settings{})
}
