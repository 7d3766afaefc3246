package badger_test

import (
	"fmt"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// The value log's garbage collection may remove the file that an item points to
// before the value is read. Badger then returns an empty value, which is no damage.
func TestValueCollectedSinceGet(t *testing.T) {
	// Now and then Badger compacts on its own before, and leaves the file be.
	for range 10 {
		if collectedSinceGet(t) {
			return
		}
	}
	t.Fatal("Badger never collected the file")
}

// collectedSinceGet reports whether the value was collected between Get and reading.
func collectedSinceGet(t *testing.T) (collected bool) {
	b := valueLogWithGarbage(t, record("id", "owner", "data"))
	db := badger.Database(b)
	want, err := b.Get(testContext(t), "id")
	require.NoError(t, err)

	require.NoError(t, db.View(func(txn *badgerdb.Txn) error {
		item, err := txn.Get([]byte("keystore/rid"))
		require.NoError(t, err)
		collectAll(t, db)
		value, err := item.ValueCopy(nil)
		require.NoError(t, err, "what Badger does about it")
		collected = len(value) == 0

		got, err := badger.Decode(txn, "id", item)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		return nil
	}))
	return collected
}

// valueLogWithGarbage returns a store with one record, which lies in a file of the
// value log that can be collected.
func valueLogWithGarbage(t *testing.T, r backend.Record) *badger.Backend {
	t.Helper()
	o := badgerdb.DefaultOptions(t.TempDir()).WithLogger(nil).WithMetricsEnabled(false).
		WithValueThreshold(32).WithValueLogFileSize(1 << 20).WithMemTableSize(2 << 20).
		WithNumLevelZeroTables(1) // so that Flatten finds something to do
	for n := range 3 { // each leaves a table in level zero
		db, err := badgerdb.Open(o)
		require.NoError(t, err)
		if n == 0 {
			b, err := badger.New(db, nil)
			require.NoError(t, err)
			create(t, b, r)
			require.NoError(t, b.Close())
		}
		for n := range 40 {
			require.NoError(t, db.Update(func(txn *badgerdb.Txn) error {
				return txn.Set(fmt.Append(nil, "key-", n), make([]byte, 60<<10))
			}))
		}
		require.NoError(t, db.Close())
	}
	db, err := badgerdb.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Flatten(1)) // tells Badger what is unused
	return handleOn(t, db, nil)
}

// collectAll collects every file of the value log that has garbage.
func collectAll(t *testing.T, db *badgerdb.DB) {
	t.Helper()
	var err error
	for err == nil {
		err = db.RunValueLogGC(0.01)
	}
	require.ErrorIs(t, err, badgerdb.ErrNoRewrite)
}
