package socket_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// BenchmarkGet is what a call costs beside the store's own time.
func BenchmarkGet(b *testing.B) {
	direct := memory.New()
	require.NoError(b, direct.Create(b.Context(), backend.Record{ID: "x", Owner: "o", Data: make([]byte, 300)}))
	for name, store := range map[string]backend.Backend{"direct": direct, "by the socket": served(b, direct)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.Get(b.Context(), "x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
