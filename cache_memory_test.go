package keystore

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first may have left what finalizers hold
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAKeyHoldsOneRecord: what is read anew takes the place of what was read before,
// which nothing holds any more. Ids and owners are parts of a record's text.
func TestAKeyHoldsOneRecord(t *testing.T) {
	const keys, text = 1000, 15_000
	p := newSharedStore(t).quiet(func(o *Options) { o.CacheTTL = time.Hour })
	tokens := make([]string, keys)
	for i := range tokens {
		token, _, err := p.Generate(t.Context(), KeyParams{Owner: "alice", Metadata: map[string]string{"x": strings.Repeat("y", text)}})
		require.NoError(t, err)
		tokens[i] = token.Reveal()
	}
	look := func() int64 {
		before := heap()
		for _, token := range tokens {
			require.Equal(t, Reason(""), p.why(token))
		}
		return (heap() - before) / keys
	}
	first := look()
	p.cache.epoch.Add(1) // all are read anew
	require.Equal(t, int64(keys), p.during(func() {
		second := look()
		t.Logf("%d bytes a key, and %d more once it is read anew", first, second)
		require.Greater(t, first, int64(text), "the measure sees a record")
		require.Less(t, second, int64(text/2))
	}))
	runtime.KeepAlive(p)
}

// TestACacheHoldsNoToken: neither of a key in use nor of one that was refused, and not
// the memory in which the caller had it.
func TestACacheHoldsNoToken(t *testing.T) {
	p := newSharedStore(t).quiet()
	token, _ := p.generate()
	freed := make(chan string, 3)
	look := func(name, text string, want Reason) {
		own := new([64]byte)
		runtime.SetFinalizer(own, func(*[64]byte) { freed <- name })
		n := copy(own[:], text)
		require.Equal(t, len(text), n)
		require.Equal(t, want, p.why(unsafe.String(&own[0], n)))
	}
	look("right", token, "")
	look("wrong", forged(t, token), ReasonWrongSecret)
	look("unknown", stray(t), ReasonUnknownKey)
	free := map[string]bool{}
	assert.Eventually(t, func() bool {
		runtime.GC()
		for len(freed) > 0 {
			free[<-freed] = true
		}
		return len(free) == 3
	}, time.Minute, time.Millisecond)
	require.Len(t, free, 3, "%v", free)
}

// slowVerify runs something while a digest is compared.
type slowVerify struct {
	Hasher
	meanwhile func()
}

func (h *slowVerify) Verify(token string, d Digest) bool {
	h.meanwhile()
	return h.Hasher.Verify(token, d)
}

// TestAKeyIsKeptThoughAFloodComesWhileItsHashIsCompared: until then it is one of many
// that nobody proved.
func TestAKeyIsKeptThoughAFloodComesWhileItsHashIsCompared(t *testing.T) {
	for _, c := range []struct{ size, flood int }{{1, 1}, {10, 5}, {100, 10}, {1000, 100}, {10_000, 500}} {
		t.Run(fmt.Sprintf("size %d, %d", c.size, c.flood), func(t *testing.T) {
			h := &slowVerify{SHA256(), func() {}}
			p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize, o.CacheTTL, o.Hash = c.size, time.Hour, h })
			flood := func(n int) {
				meanwhile := h.meanwhile
				h.meanwhile = func() {} // an unknown token costs a comparison, too
				for range n {
					require.Equal(t, ReasonUnknownKey, p.why(stray(t)))
				}
				h.meanwhile = meanwhile
			}
			flood(2 * max(c.size, minDoubts)) // their budget is full
			keys := min(c.size, 50)
			for range keys {
				token, _ := p.generate()
				h.meanwhile = func() { flood(c.flood) }
				require.Equal(t, Reason(""), p.why(token))
				h.meanwhile = func() {}
			}
			require.Equal(t, keys, p.Stats().Entries)
		})
	}
}

// TestACacheOfAMillionKeys takes what it needs and no more, and holds a few hundred
// thousand in its long form.
func TestACacheOfAMillionKeys(t *testing.T) {
	keys := 5000
	if long() {
		keys = 300_000
	}
	before := heap()
	p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize, o.CacheTTL = 1_000_000, time.Hour })
	empty := heap() - before
	require.Less(t, empty, int64(16<<20), "an empty cache")
	tokens := make([]string, keys)
	for i := range tokens {
		tokens[i], _ = p.generate("orders:*", "invoices:read")
	}
	before = heap()
	look := func() {
		for _, token := range tokens {
			if _, err := p.Lookup(context.Background(), token); err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	each := (heap() - before) / int64(keys)
	t.Logf("%d bytes for an empty cache, %d a key", empty, each)
	require.Less(t, each, int64(2048))
	require.Zero(t, p.during(look))
	stats := p.Stats()
	require.Equal(t, keys, stats.Entries)
	require.Zero(t, stats.Evictions)
	require.Equal(t, uint64(keys), stats.Misses)
	require.Equal(t, uint64(keys), stats.Hits)
	runtime.KeepAlive(tokens)
}
