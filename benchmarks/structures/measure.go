package main

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const (
	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	keyLen   = 16
)

// newKeys returns n keys that look like the ids of keys: the first half says when
// they were made, so it is common to many, and the rest is random. They lie one
// after another in memory: a key that was just cut out of a token is in the
// processor's cache too.
func newKeys(r *rand.Rand, n int) []string {
	text := make([]byte, 0, n*keyLen)
	for i := range n {
		text = append(text, "0NvZ5"...)
		text = append(text, alphabet[i/62/62%62], alphabet[i/62%62], alphabet[i%62])
		for range keyLen / 2 {
			text = append(text, alphabet[r.IntN(len(alphabet))])
		}
	}
	all := unsafe.String(unsafe.SliceData(text), len(text)) // never written again
	keys := make([]string, n)
	for i := range keys {
		keys[i] = all[i*keyLen : (i+1)*keyLen]
	}
	return keys
}

// filled returns a cache of that capacity and puts keys into it, each in memory
// of its own and in another order.
func filled(empty func(int) cache, capacity int, keys []string) cache {
	c := empty(capacity)
	for _, i := range rand.Perm(len(keys)) {
		c.Put(strings.Clone(keys[i]), new(value))
	}
	c.Len() // otter: let it finish its bookkeeping
	return c
}

// A workload is what callers do: of a hundred calls so many are a Put of a key
// that is there, the others a Get. They use all keys in turn, or all the same one.
type workload struct {
	name   string
	puts   int
	oneKey bool
}

var workloads = []workload{
	{name: "Get"},
	{name: "Get+1%Put", puts: 1},
	{name: "GetOneKey", oneKey: true},
}

// perCall lets procs goroutines on as many cores do w for about d, and returns
// how many nanoseconds passed for each call of all of them.
func (w workload) perCall(c cache, keys []string, procs int, d time.Duration) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	const batch = 1000
	if w.oneKey {
		keys = keys[:1]
	}
	calls := make([]int, procs)
	var wg sync.WaitGroup
	start := time.Now()
	for p := range procs {
		wg.Go(func() {
			v, n := new(value), 0
			for i := p * len(keys) / procs; time.Since(start) < d; n += batch {
				for j := range batch {
					if i++; i >= len(keys) {
						i = 0
					}
					if j%100 < w.puts {
						c.Put(keys[i], v)
					} else if _, ok := c.Get(keys[i]); !ok {
						panic("a key is not there that was put")
					}
				}
			}
			calls[p] = n
		})
	}
	wg.Wait()
	took, total := time.Since(start), 0
	for _, n := range calls {
		total += n
	}
	return float64(took) / float64(total)
}

// perEntry returns the bytes on the heap for each entry of a full cache, without
// its key's text and its value.
func perEntry(empty func(int) cache, capacity int, keys []string) float64 {
	v := new(value)
	before := heap()
	c := empty(capacity)
	for _, key := range keys {
		c.Put(key, v)
	}
	n := c.Len()
	after := heap()
	runtime.KeepAlive(c)
	runtime.KeepAlive(keys)
	return float64(after-before) / float64(n)
}

func heap() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
