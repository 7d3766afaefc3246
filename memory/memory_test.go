package memory_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	var mu sync.Mutex
	stores := map[string]*memory.Store{}
	conformance.Run(t, func(_ testing.TB, name string) backend.Backend {
		mu.Lock()
		defer mu.Unlock()
		if stores[name] == nil {
			stores[name] = new(memory.Store)
		}
		return stores[name].Open()
	})
}

func TestURL(t *testing.T) {
	ctx := context.Background()
	a, err := backend.Open(ctx, "memory://", nil)
	require.NoError(t, err)
	b, err := backend.Open(ctx, "MEMORY://", nil)
	require.NoError(t, err, "schemes are case-insensitive")
	require.NoError(t, a.Create(ctx, backend.Record{ID: "x", Owner: "o"}))
	_, err = b.Get(ctx, "x")
	require.ErrorIs(t, err, backend.ErrNotFound, "each URL opens a store of its own")

	for _, url := range []string{"memory://hunter2", "memory:///hunter2", "memory://?hunter2=1", "memory://u:hunter2@h"} {
		_, err := backend.Open(ctx, url, nil)
		require.ErrorIs(t, err, backend.ErrInvalidURL, url)
		require.False(t, strings.Contains(err.Error(), "hunter2"), "%v holds a part of the URL", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = backend.Open(ended, "memory://", nil)
	require.ErrorIs(t, err, context.Canceled)
}

func ExampleNew() {
	b := memory.New()
	defer b.Close()
	err := b.Create(context.Background(), backend.Record{ID: "id", Owner: "alice", Data: []byte("data")})
	r, _ := b.Get(context.Background(), "id")
	fmt.Println(err, r.Owner, r.Revision)
	// Output: <nil> alice 1
}

func ExampleStore_Open() {
	var store memory.Store // several handles on one store, as several machines would have them
	here, there := store.Open(), store.Open()
	defer here.Close()
	defer there.Close()
	_ = here.Create(context.Background(), backend.Record{ID: "id", Owner: "alice"})
	r, err := there.Get(context.Background(), "id")
	fmt.Println(r.Owner, err)
	// Output: alice <nil>
}
