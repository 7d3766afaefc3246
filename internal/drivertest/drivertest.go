// Package drivertest has the tests that drivers for servers share: what happens to
// keys when the line to the server or the server itself fails. A driver's own tests
// call them with a store to break.
//
//   - [Operations] makes each operation of a keystore and breaks one request of it at
//     a time, by a [testserver.Proxy].
//   - [StartLoad] lets several goroutines make and change keys, while the test kills
//     servers or cuts connections.
//   - [Processes] lets several processes change the same records.
//   - [StartCache] keeps a cache by Watch, which must come to hold what is stored.
//
// All of them keep a ledger of what the keystore said, and hold it against what is
// stored: no change may happen twice, none that was acknowledged may be missing, and
// no outage may be told as an answer, such as "no such key" or "invalid API key".
// Nothing is judged by how long it takes.
package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// patience is how long a test waits for something that must happen.
const patience = 60 * time.Second

// newKeystore makes a keystore that does nothing by itself. It keeps nothing of
// what it has read, so that every answer is the store's.
func newKeystore(t testing.TB, b backend.Backend) *keystore.Keystore {
	t.Helper()
	return newKeystoreAt(t, b, time.Now)
}

// retention is how long a key stays after it was revoked.
const retention = time.Hour

func newKeystoreAt(t testing.TB, b backend.Backend, now func() time.Time) *keystore.Keystore {
	t.Helper()
	s, err := keystore.New(b, &keystore.Options{
		OpTimeout:     2 * time.Second,
		CacheSize:     -1,
		TouchInterval: keystore.Never,
		UsageInterval: keystore.Never,
		PurgeInterval: keystore.Never,
		Retention:     retention,
		Now:           now,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}
