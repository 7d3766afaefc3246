package badger_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

func BenchmarkSpendRatio(b *testing.B) {
	for _, ids := range []int{1, 10_000} {
		b.Run(fmt.Sprint("keys=", ids), func(b *testing.B) {
			store := open(b, b.TempDir(), &badger.Options{NoSync: true})
			db := badger.Database(store)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			windows := []backend.Window{{Name: "burst", Length: time.Second, Start: day, Max: 1 << 40}, {Name: "day", Length: 24 * time.Hour, Start: day, Max: 1 << 40}}
			var n atomic.Uint64
			var raw, own time.Duration
			value := make([]byte, 560)
			keys := make([][]byte, ids)
			names := make([]string, ids)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "keystore/c1%015d", i)
				names[i] = fmt.Sprintf("%016d", i)
			}
			for b.Loop() {
				i := n.Add(1)
				start := time.Now()
				key := keys[i%uint64(ids)]
				err := db.Update(func(txn *badgerdb.Txn) error {
					if item, err := txn.Get(key); err == nil {
						if _, err := item.ValueCopy(nil); err != nil {
							return err
						}
					}
					return txn.Set(key, value)
				})
				if err != nil {
					b.Fatal(err)
				}
				mid := time.Now()
				_, err = store.Spend(ctx, backend.Spend{ID: names[i%uint64(ids)], SpendID: i, Cost: 1, Windows: windows})
				if err != nil {
					b.Fatal(err)
				}
				own += time.Since(mid)
				raw += mid.Sub(start)
			}
			b.ReportMetric(float64(own)/float64(raw), "x-raw")
			b.ReportMetric(float64(raw)/float64(b.N), "raw-ns")
			b.ReportMetric(float64(own)/float64(b.N), "own-ns")
		})
	}
}
