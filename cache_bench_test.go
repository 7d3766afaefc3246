package keystore_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// BenchmarkLookupCached compares a cached Lookup with what it cannot do without:
// the SHA-256 of the token and one load from a map that many read.
func BenchmarkLookupCached(b *testing.B) {
	ks, err := keystore.New(memory.New(), &keystore.Options{PurgeInterval: keystore.Never})
	require.NoError(b, err)
	b.Cleanup(func() { ks.Close() })
	const keys = 5000
	tokens := make([]string, keys)
	var floor sync.Map
	ctx := context.Background()
	for i := range tokens {
		token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:*", "invoices:read"}})
		require.NoError(b, err)
		tokens[i] = token.Reveal()
		floor.Store(sha256.Sum256([]byte(tokens[i])), &key)
		_, err = ks.Lookup(ctx, tokens[i])
		require.NoError(b, err)
	}
	raw := func(i int) {
		if _, ok := floor.Load(sha256.Sum256([]byte(tokens[i%keys]))); !ok {
			b.Fatal("not there")
		}
	}
	ours := func(i int) {
		if _, err := ks.Lookup(ctx, tokens[i%keys], "orders:read"); err != nil {
			b.Fatal(err)
		}
	}
	versus(b, raw, ours)
	require.Zero(b, testing.AllocsPerRun(1000, func() { ours(7) }))
}
