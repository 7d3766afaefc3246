package socket_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

// TestConformance runs the suite on stores behind a server. Each store has a
// server of its own, which outlives the handles.
func TestConformance(t *testing.T) {
	for name, newStore := range map[string]func(t *testing.T) backend.Backend{
		"memory": func(*testing.T) backend.Backend { return memory.New() },
		"badger": func(t *testing.T) backend.Backend {
			b, err := badger.Open("", &badger.Options{InMemory: true})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			paths := map[string]string{}
			conformance.Run(t, func(tb testing.TB, store string) backend.Backend {
				mu.Lock()
				defer mu.Unlock()
				if paths[store] == "" {
					paths[store], _ = serve(t, newStore(t), nil)
				}
				b, err := socket.Open(paths[store])
				require.NoError(tb, err)
				return b
			})
		})
	}
}
