package lookup_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
)

// BenchmarkFloor compares Lookup of keys in the cache with the least that a cache of
// hashed tokens can do: SHA-256 of the token and one load of a sync.Map by the key's
// id, whose value is the digest. The cache has room for all keys and keeps them for
// an hour, so that nothing is read from the store.
//
// over-floor-ns is how much longer a caller waits: the difference of the times,
// which are per operation of all callers, by the number of callers.
func BenchmarkFloor(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if stores.Dir != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, size := range sizes {
		s := stores.Open(b, "memory", size)
		w := workload{
			name: "hit-cached", options: keystore.Options{CacheSize: 4 * size, CacheTTL: time.Hour},
			scope: stores.Scope, cached: 1,
		}
		ks := s.Keystore(w.options)
		pair := turns.Pair{Raw: turns.Side{Op: floor(s.Tokens)}, Ours: turns.Side{Op: w.lookup(ks, s.Tokens)}}
		for i := range s.Tokens {
			if err := errors.Join(pair.Raw.Op(i), pair.Ours.Op(i)); err != nil {
				b.Fatal(err)
			}
		}
		for _, pair.Callers = range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
			b.Run(fmt.Sprintf("keys=%d/callers=%d", size, pair.Callers), func(b *testing.B) {
				s.Plan(&pair, false)
				before := ks.Stats()
				r := turns.Run(b, &pair)
				w.checkCache(b, before, ks.Stats())
				b.ReportMetric(r.Over*float64(pair.Callers), "over-floor-ns")
			})
		}
		s.Close()
	}
}

func floor(tokens []string) func(i int) error {
	var cache sync.Map // id -> digest
	for _, token := range tokens {
		digest := sha256.Sum256([]byte(token))
		cache.Store(stores.ID(token), &digest)
	}
	return func(i int) error {
		token := tokens[i%len(tokens)]
		digest := sha256.Sum256([]byte(token))
		stored, ok := cache.Load(stores.ID(token))
		if !ok || *stored.(*[sha256.Size]byte) != digest {
			return errors.New("the token is not in the map")
		}
		return nil
	}
}
