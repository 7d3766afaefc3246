package badger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// benchRecords is how many records the folder of the read benchmarks holds.
const benchRecords = 100_000

// BenchmarkGet compares Get with the least that Badger asks for the same bytes.
// Both run in turn on one folder, at the same ids.
func BenchmarkGet(b *testing.B) {
	store := open(b, b.TempDir(), &badger.Options{NoSync: true})
	ids := fillStore(b, store, benchRecords)
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		keys[i] = []byte("keystore/r" + id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	db := badger.Database(store)
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := rawGet(db, keys[rand.IntN(len(keys))]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("backend", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Get(ctx, ids[rand.IntN(len(ids))]); err != nil {
				b.Fatal(err)
			}
		}
	})
	// The two in turn, so that what else the machine does falls on both.
	b.Run("ratio", func(b *testing.B) {
		var raw, own time.Duration
		for b.Loop() {
			i := rand.IntN(len(ids))
			start := time.Now()
			if err := rawGet(db, keys[i]); err != nil {
				b.Fatal(err)
			}
			middle := time.Now()
			i = rand.IntN(len(ids))
			if _, err := store.Get(ctx, ids[i]); err != nil {
				b.Fatal(err)
			}
			raw += middle.Sub(start)
			own += time.Since(middle)
		}
		b.ReportMetric(float64(own)/float64(raw), "x-raw")
	})
	b.Run("missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.Get(ctx, "no-such-id"); err == nil {
				b.Fatal("found")
			}
		}
	})
}

func rawGet(db *badgerdb.DB, key []byte) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if err != nil {
		return err
	}
	return item.Value(func([]byte) error { return nil })
}

// fillStore adds n records of about 200 bytes and returns their ids.
func fillStore(b *testing.B, store *badger.Backend, n int) []string {
	b.Helper()
	ids := make([]string, n)
	batch := badger.Database(store).NewWriteBatch()
	defer batch.Cancel()
	template := backend.Record{ID: "template", Owner: "owner-000", Data: make([]byte, 160)}
	create(b, store, template)
	var value []byte
	require.NoError(b, badger.Database(store).View(func(txn *badgerdb.Txn) error {
		item, err := txn.Get([]byte("keystore/rtemplate"))
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	}))
	for i := range ids {
		ids[i] = fmt.Sprintf("%016x", rand.Uint64())
		require.NoError(b, batch.Set([]byte("keystore/r"+ids[i]), value))
	}
	require.NoError(b, batch.Flush())
	return ids
}

// BenchmarkCreate compares Create with a transaction that writes the same keys.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			store := open(b, b.TempDir(), nil)
			db := badger.Database(store)
			var n atomic.Uint64
			data := make([]byte, 160)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.Run("raw", func(b *testing.B) {
				value := make([]byte, 27+9+len(data))
				together(b, callers, func() error {
					id := fmt.Sprintf("%016x", n.Add(1))
					return db.Update(func(txn *badgerdb.Txn) error {
						key := []byte("keystore/r" + id)
						if _, err := txn.Get(key); err != badgerdb.ErrKeyNotFound {
							return fmt.Errorf("%s: %w", id, err)
						}
						if err := txn.Set(key, value); err != nil {
							return err
						}
						return txn.Set([]byte("keystore/o\x00\x09owner-000"+id), []byte{1})
					})
				})
			})
			b.Run("backend", func(b *testing.B) {
				together(b, callers, func() error {
					return store.Create(ctx, backend.Record{ID: fmt.Sprintf("%016x", n.Add(1)), Owner: "owner-000", Data: data})
				})
			})
		})
	}
}

func together(b *testing.B, callers int, do func() error) {
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	if callers == 1 {
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
