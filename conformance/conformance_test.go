package conformance_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/memory"
)

func TestMemory(t *testing.T) {
	defer goleak.VerifyNone(t)
	var mu sync.Mutex
	stores := make(map[string]*memory.Store)
	conformance.Run(t, func(_ testing.TB, name string) backend.Backend {
		mu.Lock()
		defer mu.Unlock()
		if stores[name] == nil {
			stores[name] = new(memory.Store)
		}
		return stores[name].Open()
	})
}

// TestThirdParty tests the backend of the example, which was written from the
// text of the contract.
func TestThirdParty(t *testing.T) { testShelf(t) }
