package badger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// spender spends of two limits of many keys, and writes as many bytes barely.
type spender struct {
	store *badger.Backend
	ctx   context.Context
	keys  uint64
	value []byte
	n     atomic.Uint64
}

func newSpender(b *testing.B, noSync bool, keys uint64) *spender {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	b.Cleanup(cancel)
	s := &spender{store: open(b, b.TempDir(), &badger.Options{NoSync: noSync}), ctx: ctx, keys: keys}
	for range keys {
		require.NoError(b, s.spend())
	}
	for range backend.KeptSpends { // as many ids as are kept
		s.n.Store(s.n.Load() + keys - 1)
		require.NoError(b, s.spend())
	}
	require.NoError(b, badger.Database(s.store).View(func(txn *badgerdb.Txn) error {
		item, err := txn.Get(fmt.Appendf(nil, "keystore/c%016d", s.n.Load()%keys))
		if err != nil {
			return err
		}
		s.value, err = item.ValueCopy(nil)
		return err
	}))
	return s
}

func (s *spender) spend() error {
	n := s.n.Add(1)
	day := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	spent, err := s.store.Spend(s.ctx, backend.Spend{ID: fmt.Sprintf("%016d", n%s.keys), SpendID: n, Cost: 1, Windows: []backend.Window{
		{Name: "burst", Length: time.Second, Start: day, Max: backend.MaxCount},
		{Name: "day", Length: 24 * time.Hour, Start: day, Max: backend.MaxCount},
	}})
	if err == nil && !spent.OK {
		return errors.New("refused")
	}
	return err
}

// raw is the least that a read and a write of the same bytes in one transaction
// take.
func (s *spender) raw() error {
	key := fmt.Appendf(nil, "keystore/C%016d", s.n.Add(1)%s.keys)
	for {
		err := badger.Database(s.store).Update(func(txn *badgerdb.Txn) error {
			item, err := txn.Get(key)
			if err == nil {
				_, err = item.ValueCopy(nil)
			}
			if err != nil && !errors.Is(err, badgerdb.ErrKeyNotFound) {
				return err
			}
			return txn.Set(key, s.value)
		})
		if !errors.Is(err, badgerdb.ErrConflict) {
			return err
		}
	}
}

// BenchmarkSpend compares Spend with one db.Update of the same bytes, alone and by
// many callers, of one key and of many. Callers of one key conflict without the
// driver, so that the bare form repeats.
func BenchmarkSpend(b *testing.B) {
	for _, noSync := range []bool{true, false} {
		for _, callers := range []int{1, 64} {
			for _, keys := range []uint64{1, 10_000} {
				b.Run(fmt.Sprintf("sync=%v/callers=%d/keys=%d", !noSync, callers, keys), func(b *testing.B) {
					s := newSpender(b, noSync, keys)
					b.Run("raw", func(b *testing.B) { together(b, callers, s.raw) })
					b.Run("backend", func(b *testing.B) { together(b, callers, s.spend) })
				})
			}
		}
	}
}

// BenchmarkSpendRatio makes the two in turn, so that what else the machine does
// falls on both, and compares their medians.
func BenchmarkSpendRatio(b *testing.B) {
	for _, keys := range []uint64{1, 10_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			s := newSpender(b, true, keys)
			var raw, own []time.Duration
			for b.Loop() {
				start := time.Now()
				require.NoError(b, s.raw())
				middle := time.Now()
				require.NoError(b, s.spend())
				own = append(own, time.Since(middle))
				raw = append(raw, middle.Sub(start))
			}
			slices.Sort(raw)
			slices.Sort(own)
			b.ReportMetric(float64(own[len(own)/2])/float64(raw[len(raw)/2]), "x-raw")
			b.ReportMetric(float64(raw[len(raw)/2]), "raw-ns")
		})
	}
}
