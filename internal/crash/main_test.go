package crash

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// TestMain lets tests start this binary as a process of its own, see child.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](os.Getenv(argumentVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// long reports whether the long forms are asked for.
func long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// sized is how much of something a test does, in its short and its long form.
func sized(shortForm, longForm int) int {
	if long() {
		return longForm
	}
	return shortForm
}

// newRand is seeded by KEYSTORE_TEST_SEED, or else by the clock; the seed is logged.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KEYSTORE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "KEYSTORE_TEST_SEED")
	}
	t.Logf("KEYSTORE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// unforked runs fn while no child is being started. Between fork and exec a child
// holds the locks of this process on folders, and would keep one that fn gives up.
func unforked[T any](fn func() T) T {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return fn()
}

// openStore opens the store of a URL for as long as the test, or until closeStore.
func openStore(t *testing.T, url string) backend.Backend {
	t.Helper()
	var b backend.Backend
	err := unforked(func() (err error) {
		b, err = backend.Open(testContext(t), url, nil)
		return err
	})
	require.NoError(t, err, "what a killed process leaves can be opened")
	t.Cleanup(func() { closeStore(t, b) })
	return b
}

// openFolder is openStore for what only the driver can do.
func openFolder(t *testing.T, dir string) *badger.Backend {
	t.Helper()
	b, ok := openStore(t, "badger://"+dir).(*badger.Backend)
	require.True(t, ok)
	return b
}

// closeStore closes a store or a database.
func closeStore(t *testing.T, b io.Closer) {
	t.Helper()
	require.NoError(t, unforked(b.Close))
}

// testContext bounds what a test waits for.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), childLife)
	t.Cleanup(cancel)
	return ctx
}
