package badger_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

func BenchmarkSpend(b *testing.B) {
	for _, noSync := range []bool{true, false} {
		for _, callers := range []int{1, 64} {
			for _, ids := range []int{1, 10_000} {
				b.Run(fmt.Sprintf("sync=%v/callers=%d/keys=%d", !noSync, callers, ids), func(b *testing.B) {
					benchSpend(b, noSync, callers, ids)
				})
			}
		}
	}
}

func benchSpend(b *testing.B, noSync bool, callers, ids int) {
	store := open(b, b.TempDir(), &badger.Options{NoSync: noSync})
	db := badger.Database(store)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	windows := []backend.Window{{Name: "burst", Length: time.Second, Start: day, Max: 1 << 40}, {Name: "day", Length: 24 * time.Hour, Start: day, Max: 1 << 40}}
	var n atomic.Uint64
	spend := func() error {
		i := n.Add(1)
		s, err := store.Spend(ctx, backend.Spend{ID: fmt.Sprintf("%016d", i%uint64(ids)), SpendID: i, Cost: 1, Windows: windows})
		if err == nil && !s.OK {
			return fmt.Errorf("refused")
		}
		return err
	}
	for range 100 {
		require.NoError(b, spend())
	}
	value := make([]byte, 580)
	bare := func() error {
		i := n.Add(1)
		key := fmt.Appendf(nil, "keystore/c%016d", i%uint64(ids)+uint64(ids))
		return db.Update(func(txn *badgerdb.Txn) error {
			if item, err := txn.Get(key); err == nil {
				if _, err := item.ValueCopy(nil); err != nil {
					return err
				}
			}
			return txn.Set(key, value)
		})
	}
	b.Run("raw", func(b *testing.B) {
		if callers == 1 || ids > 1 {
			together(b, callers, func() error {
				for {
					if err := bare(); err != badgerdb.ErrConflict {
						return err
					}
				}
			})
		}
	})
	b.Run("backend", func(b *testing.B) { together(b, callers, spend) })
}
