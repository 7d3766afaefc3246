package main

import (
	"math"
	"math/rand/v2"
	"strings"
)

const (
	keysPerEntry = 10 // how many keys are in use for each entry that the cache may hold
	warmUp       = 20 // requests for each entry, before hits are counted
	counted      = 30
)

// hitRate returns the share of requests that c answers, each for one of keys,
// the first most often (Zipf's law with exponent s). Whoever misses puts. If
// flood is not nil, then every so many requests as there are entries, as many
// keys come that are asked for once and never again.
func hitRate(c cache, capacity int, keys []string, s float64, flood func() string) float64 {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, s, 1, uint64(len(keys)-1))
	v, hits := new(value), 0
	ask := func(key string) bool {
		_, ok := c.Get(key)
		if !ok {
			c.Put(key, v)
		}
		return ok
	}
	for i := range (warmUp + counted) * capacity {
		if ask(keys[zipf.Uint64()]) && i >= warmUp*capacity {
			hits++
		}
		if flood != nil && i%capacity == 0 {
			for range capacity {
				ask(flood())
			}
		}
	}
	return float64(hits) / float64(counted*capacity)
}

// best returns the hit rate of a cache that knows which keys will be asked for
// most, and holds those.
func best(capacity, keys int, s float64) float64 {
	held, all := 0.0, 0.0
	for i := range keys {
		p := math.Pow(float64(1+i), -s)
		all += p
		if i < capacity {
			held += p
		}
	}
	return held / all
}

// onceKeys returns keys that it never returned before.
func onceKeys(r *rand.Rand) func() string {
	return func() string {
		var b strings.Builder
		b.WriteString("0NvZ5zzz")
		for range keyLen / 2 {
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
}
