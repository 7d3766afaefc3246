package memory_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// The names in a spend may be parts of long texts: those of keystore are of the
// whole record of the key. What is counted must not keep them.
func TestCountsKeepNoTextOfTheCaller(t *testing.T) {
	b := memory.New()
	const keys, each = 64, 1 << 20
	for i := range keys {
		text := fmt.Sprintf("key-%02dday", i) + strings.Repeat("x", each)
		for n := range 2 {
			spent, err := b.Spend(t.Context(), backend.Spend{
				ID: text[:6], SpendID: uint64(n), Cost: 1,
				Windows: []backend.Window{{Name: text[6:9], Length: time.Second, Start: time.Unix(int64(n), 0), Max: 5}},
			})
			require.NoError(t, err)
			require.True(t, spent.OK)
		}
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	require.Less(t, after.HeapAlloc, uint64(keys/2*each))
	runtime.KeepAlive(b)
}
