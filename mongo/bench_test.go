package mongo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver/mongowire"
)

// BenchmarkLookupVersusRawFindOne compares Lookup with FindOne of the same
// documents by the same client, in turns, against a server that answers at once.
// Both have a deadline of 2 s: Lookup gives itself one, and the client library
// does more for a call that has one.
func BenchmarkLookupVersusRawFindOne(b *testing.B) {
	w := startWire(b, mongowire.Primary)
	w.Server = mongowire.Start(b, w.store.Handle, mongowire.Primary) // without what records
	coll := connect(b, w.URL()).Database("test").Collection("keys")
	ks := newKeystore(b, newBackend(b, coll, nil))
	const keys = 100
	tokens, ids := make([]string, keys), make([]string, keys)
	for i := range keys {
		token, key, err := ks.Generate(b.Context(), keystore.KeyParams{
			Owner: fmt.Sprintf("customer-%d", i), Name: "a key of some program",
			Scopes: []string{"orders:*", "invoices:read"}, TTL: 90 * 24 * time.Hour,
		})
		require.NoError(b, err)
		tokens[i], ids[i] = token.Reveal(), key.ID
	}
	sum := 0
	raw := func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		doc, err := coll.FindOne(ctx, d("_id", ids[i%keys])).Raw()
		if err != nil {
			b.Fatal(err)
		}
		sum += len(doc)
	}
	ours := func(i int) {
		if _, err := ks.Lookup(context.Background(), tokens[i%keys], "orders:read"); err != nil {
			b.Fatal(err)
		}
	}
	const turn = 64
	var rawTime, ourTime time.Duration
	ops := 0
	for b.Loop() {
		start := time.Now()
		for i := range turn {
			raw(ops + i)
		}
		middle := time.Now()
		for i := range turn {
			ours(ops + i)
		}
		rawTime += middle.Sub(start)
		ourTime += time.Since(middle)
		ops += turn
	}
	perOp := func(t time.Duration) float64 { return float64(t.Nanoseconds()) / float64(ops) }
	b.ReportMetric(perOp(rawTime), "raw-ns/op")
	b.ReportMetric(perOp(ourTime), "ours-ns/op")
	b.ReportMetric(perOp(ourTime)-perOp(rawTime), "over-ns/op")
	b.ReportMetric(0, "ns/op") // of a turn of both: not shown
}
