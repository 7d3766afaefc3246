package mongo_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
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
	inTurns(b, raw, ours)
}

// BenchmarkSpendVersusRawUpdate compares a Spend of two limits, of a key that was
// used for long, with a bare update of one count by the same client, in turns. The
// server has its answers ready, so that what differs is the client's.
func BenchmarkSpendVersusRawUpdate(b *testing.B) {
	w := startWire(b, mongowire.Primary)
	s := spending("key-0123456789abcdef", 0, windowAt("day", 24*time.Hour, 0, 1<<40), windowAt("burst", time.Minute, 0, 1<<40))
	for ; s.SpendID < 2*backend.KeptSpends; s.SpendID++ {
		_, err := w.open(b, nil).Spend(b.Context(), s)
		require.NoError(b, err)
	}
	spent := mongowire.OK(d("lastErrorObject", d("n", 1, "updatedExisting", true), "value", w.countsOf(b, s.ID))...)
	updated := mongowire.OK(d("n", 1, "nModified", 1)...)
	server := mongowire.Start(b, func(cmd mongowire.Command) mongowire.Reply {
		switch cmd.Name {
		case "findAndModify":
			return spent
		case "update":
			return updated
		}
		return mongowire.Reply{}
	}, mongowire.Primary)
	coll := connect(b, server.URL()).Database("test").Collection("keys")
	counter := newBackend(b, coll, nil)
	inTurns(b, func(int) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := coll.UpdateOne(ctx, d("_id", s.ID), d("$inc", d("n", int64(1)))); err != nil {
			b.Fatal(err)
		}
	}, func(int) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if got, err := counter.Spend(ctx, s); err != nil || !got.OK {
			b.Fatal(got, err)
		}
	})
}

// inTurns shows what one call of each takes.
func inTurns(b *testing.B, raw, ours func(i int)) {
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
