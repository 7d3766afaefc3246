package lookup_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
)

// BenchmarkCacheMemory tells what the process holds for each key in the cache: the
// heap after a garbage collection, with the cache and without, by the number of
// keys. The times of last use that wait to be written are no part of it.
func BenchmarkCacheMemory(b *testing.B) {
	sizes := []int{10_000}
	if stores.Dir != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("keys=%d", size), func(b *testing.B) {
			s := stores.Open(b, "memory", size)
			defer s.Close()
			ks, err := keystore.New(s.Backend, &keystore.Options{
				CacheSize: 4 * size, CacheTTL: time.Hour, TouchInterval: keystore.Never, PurgeInterval: keystore.Never,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer ks.Close()
			for deadline := time.Now().Add(stores.Deadline); ks.Stats().Watch != keystore.WatchActive; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) { // before, it drops what it holds
					b.Fatal("the keystore does not watch yet")
				}
			}
			before := heap()
			for _, token := range s.Tokens {
				if _, err := ks.Lookup(context.Background(), token, stores.Scope); err != nil {
					b.Fatal(err)
				}
			}
			after, kept := heap(), ks.Stats().Entries
			if kept != len(s.Tokens) {
				b.Fatalf("of %d keys %d are in the cache", len(s.Tokens), kept)
			}
			b.ReportMetric(float64(after-before)/float64(kept), "B/key")
			b.ReportMetric(0, "ns/op")
			runtime.KeepAlive(s.Tokens)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one may leave what a finalizer held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
