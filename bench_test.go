package keystore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
	"example.com/keystore/memory"
)

// versus times two operations in turns of a few hundred, so that both meet the
// same machine, and reports the median cost of each and of their ratio.
func versus(b *testing.B, raw, ours func(i int)) {
	const turn = 256
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
	b.ReportMetric(float64(rawTime.Nanoseconds())/float64(ops), "raw-ns/op")
	b.ReportMetric(float64(ourTime.Nanoseconds())/float64(ops), "ours-ns/op")
	b.ReportMetric(float64(ourTime)/float64(rawTime), "ratio")
	b.ReportMetric(0, "ns/op") // of a turn of both: not shown
}

// openBadger opens a folder with the driver's own options, and the database under
// it for the bare operations. The Keystore has no cache.
func openBadger(b *testing.B, dir string) (ks *keystore.Keystore, db *badgerdb.DB, closeAll func()) {
	b.Helper()
	o := &badger.Options{}
	opts, err := badger.DatabaseOptions(dir, o)
	require.NoError(b, err)
	db, err = badgerdb.Open(opts)
	require.NoError(b, err)
	back, err := badger.New(db, o)
	require.NoError(b, err)
	ks, err = keystore.New(back, &keystore.Options{CacheSize: -1, TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
	require.NoError(b, err)
	return ks, db, func() {
		require.NoError(b, ks.Close())
		require.NoError(b, back.Close())
		require.NoError(b, db.Close())
	}
}

// BenchmarkLookupVersusRawGet compares Lookup, uncached, with Txn.Get and Value
// of the same record, each at its own place in one random order, since what one
// has read is cheaper for the other. The store was filled and opened again, so
// that both read tables and not the log.
func BenchmarkLookupVersusRawGet(b *testing.B) {
	for _, keys := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			if keys > 100_000 && os.Getenv("KEYSTORE_TEST_LONG") != "1" {
				b.Skip("takes a minute: set KEYSTORE_TEST_LONG=1")
			}
			dir := b.TempDir()
			tokens, raws := fillFolder(b, dir, keys)
			ks, db, closeAll := openBadger(b, dir)
			defer closeAll()
			require.NoError(b, db.Flatten(2))
			ctx, sum := context.Background(), 0
			raw := func(i int) {
				txn := db.NewTransaction(false)
				item, err := txn.Get(raws[i%keys])
				if err == nil {
					err = item.Value(func(v []byte) error { sum += len(v); return nil })
				}
				if err != nil {
					b.Fatal(err)
				}
				txn.Discard()
			}
			ours := func(i int) {
				if _, err := ks.Lookup(ctx, tokens[(i+keys/2)%keys], "orders:read"); err != nil {
					b.Fatal(err)
				}
			}
			versus(b, raw, ours)
		})
	}
}

// fillFolder is fill in a folder that is not open, without syncing.
func fillFolder(b *testing.B, dir string, n int) (tokens []string, raws [][]byte) {
	b.Helper()
	back, err := badger.Open(dir, &badger.Options{NoSync: true})
	require.NoError(b, err)
	defer func() { require.NoError(b, back.Close()) }()
	ks, err := keystore.New(back, &keystore.Options{PurgeInterval: keystore.Never})
	require.NoError(b, err)
	defer func() { require.NoError(b, ks.Close()) }()
	return fill(b, ks, n)
}

// fill generates keys like those of a real program and returns, shuffled alike,
// their tokens and the names of their records in the database.
func fill(b *testing.B, ks *keystore.Keystore, n int) (tokens []string, raws [][]byte) {
	b.Helper()
	tokens, raws = make([]string, n), make([][]byte, n)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				token, key, err := ks.Generate(context.Background(), keystore.KeyParams{
					Owner: fmt.Sprintf("customer-%d", i%1000), Name: "a key of some program",
					Scopes: []string{"orders:*", "invoices:read"}, TTL: 90 * 24 * time.Hour,
				})
				if err != nil {
					b.Error(err)
					return
				}
				tokens[i], raws[i] = token.Reveal(), []byte("keystore/r"+key.ID)
			}
		})
	}
	wg.Wait()
	rand.Shuffle(n, func(i, j int) {
		tokens[i], tokens[j] = tokens[j], tokens[i]
		raws[i], raws[j] = raws[j], raws[i]
	})
	return tokens, raws
}

// BenchmarkLookupMalformed is the cost of text that is no token.
func BenchmarkLookupMalformed(b *testing.B) {
	ks, err := keystore.New(memory.New(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, ks.Close()) })
	token, _, err := ks.Generate(context.Background(), keystore.KeyParams{Owner: "alice"})
	require.NoError(b, err)
	good := token.Reveal()
	last := byte('0')
	if good[len(good)-1] == last {
		last = '1'
	}
	for _, c := range []struct{ name, text string }{
		{"empty", ""},
		{"character", good[:30] + "!" + good[31:]},
		{"prefix", "other_" + good[3:]},
		{"checksum", good[:len(good)-1] + string(last)},
		{"100B", strings.Repeat("x", 100)},
		{"1MiB", strings.Repeat("x", 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ks.Lookup(ctx, c.text); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// BenchmarkGenerateVersusRawTransaction compares Generate, synced, with one synced
// transaction that sets three keys of the same sizes as the record and its two
// index entries.
func BenchmarkGenerateVersusRawTransaction(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ks, db, closeAll := openBadger(b, b.TempDir())
			defer closeAll()
			value := make([]byte, 260)
			raw := func(i int) error {
				return db.Update(func(txn *badgerdb.Txn) error {
					for _, e := range []struct {
						key   string
						value []byte
					}{
						{fmt.Sprintf("other/r%016d", i), value},
						{fmt.Sprintf("other/o..customer-%d%016d", i%1000, i), []byte{1}},
						{fmt.Sprintf("other/p........%016d", i), []byte{1}},
					} {
						if err := txn.Set([]byte(e.key), e.value); err != nil {
							return err
						}
					}
					return nil
				})
			}
			ours := func(i int) error {
				_, _, err := ks.Generate(context.Background(), keystore.KeyParams{
					Owner: fmt.Sprintf("customer-%d", i%1000), Name: "a key of some program",
					Scopes: []string{"orders:*", "invoices:read"}, TTL: 90 * 24 * time.Hour,
				})
				return err
			}
			versusConcurrent(b, callers, raw, ours)
		})
	}
}

// versusConcurrent is versus for operations made by several callers at once.
func versusConcurrent(b *testing.B, callers int, raw, ours func(i int) error) {
	turn := 4 * max(callers, 16)
	var rawTime, ourTime time.Duration
	ops := 0
	run := func(op func(i int) error) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := c; i < turn; i += callers {
					if err := op(ops + i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	for b.Loop() {
		rawTime += run(raw)
		ourTime += run(ours)
		ops += turn
	}
	b.ReportMetric(float64(rawTime.Nanoseconds())/float64(ops), "raw-ns/op")
	b.ReportMetric(float64(ourTime.Nanoseconds())/float64(ops), "ours-ns/op")
	b.ReportMetric(float64(ourTime)/float64(rawTime), "ratio")
	b.ReportMetric(0, "ns/op")
}
