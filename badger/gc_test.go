package badger_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

// A folder that something else filled with large values gets smaller while the
// driver has it open.
func TestValueLogIsCollected(t *testing.T) {
	// Badger keeps what is newer than the reads that a goroutine of its own knows to have
	// ended. On a busy machine that may lag behind Flatten, which happens once.
	for range 3 {
		if getsSmaller(t, t.TempDir()) {
			return
		}
	}
	t.Fatal("nothing was collected")
}

func getsSmaller(t *testing.T, dir string) bool {
	t.Helper()
	for range 3 { // each leaves a table in level zero
		db, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithLogger(nil).
			WithValueThreshold(32).WithValueLogFileSize(1 << 20).WithMemTableSize(1 << 20))
		require.NoError(t, err)
		for n := range 40 {
			require.NoError(t, db.Update(func(txn *badgerdb.Txn) error {
				return txn.Set(fmt.Append(nil, "key-", n), make([]byte, 60<<10))
			}))
		}
		require.NoError(t, db.Close())
	}
	before := valueLogs(t, dir)

	b := open(t, dir, &badger.Options{GCInterval: time.Millisecond})
	require.NoError(t, badger.Database(b).Flatten(1)) // tells Badger what is unused
	for late := time.Now().Add(waitLimit); len(valueLogs(t, dir)) == len(before); time.Sleep(waitTick) {
		if time.Now().After(late) {
			return false
		}
	}
	require.NoError(t, b.Close())
	assert.NoError(t, badger.CollectGarbage(b), "after Close there is nothing to do")
	return true
}

func valueLogs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	require.NoError(t, err)
	return files
}
