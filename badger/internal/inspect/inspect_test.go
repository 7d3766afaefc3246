package inspect_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"example.com/keystore/badger/internal/inspect"
)

const (
	logHeader = 20
	memTable  = 1 << 20
	logSize   = 2 * memTable
)

var synced = inspect.Options{Synced: true, LogSize: logSize}

// both are the kinds of databases: one with plain files, one with encrypted ones.
var both = map[string][]byte{"plain": nil, "encrypted": bytes.Repeat([]byte("k"), 32)}

// optionsFor are the options for an inspection of dir.
func optionsFor(t *testing.T, dir string, key []byte) inspect.Options {
	t.Helper()
	o := synced
	if key == nil {
		return o
	}
	registry, err := badgerdb.OpenKeyRegistry(badgerdb.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
	require.NoError(t, err)
	dataKey, err := registry.DataKey(1)
	require.NoError(t, err)
	o.Keys = map[uint64][]byte{1: dataKey.Data}
	return o
}

// open opens a database like the driver's, of smaller files and not synced: what
// is in them is the same.
func open(t *testing.T, dir string, key []byte) *badgerdb.DB {
	t.Helper()
	o := badgerdb.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(memTable).WithMetricsEnabled(false).
		WithNumCompactors(2).WithValueThreshold(64 << 10).WithValueLogFileSize(1 << 20).WithCompression(0).WithBlockCacheSize(0).WithIndexCacheSize(0)
	if key != nil {
		o = o.WithEncryptionKey(key).WithBlockCacheSize(1 << 20).WithIndexCacheSize(1 << 20)
	}
	db, err := badgerdb.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// write makes transactions of two entries each, with values of size bytes.
func write(t *testing.T, db *badgerdb.DB, name string, count, size int) {
	t.Helper()
	for i := range count {
		require.NoError(t, db.Update(func(txn *badgerdb.Txn) error {
			if err := txn.Set(fmt.Appendf(nil, "%s/r%05d", name, i), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				return err
			}
			return txn.Set(fmt.Appendf(nil, "%s/o%05d", name, i), []byte{1})
		}))
	}
}

// killed is a copy of the folder of an open database that is at rest: what a
// process leaves that ends without a word, since its files are mapped memory.
func killed(t *testing.T, db *badgerdb.DB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(db.Opts().Dir)))
	return dir
}

func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.Len(t, paths, 1, pattern)
	return paths[0]
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	_ = os.Remove(path) // a file that is cut and written anew is flushed by some file systems
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func find(t *testing.T, dir string, o inspect.Options) inspect.Report {
	t.Helper()
	before := names(t, dir)
	r, err := inspect.Folder(dir, o)
	require.NoError(t, err)
	require.Equal(t, before, names(t, dir), "nothing is changed")
	return r
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		names = append(names, fmt.Sprint(f.Name(), info.Size()))
	}
	return names
}

func TestFoldersWithoutFault(t *testing.T) {
	require.Zero(t, find(t, t.TempDir(), synced), "an empty folder")
	db := open(t, t.TempDir(), nil)
	require.Zero(t, find(t, killed(t, db), synced), "a new database")
	write(t, db, "a", 200, 100)
	require.Zero(t, find(t, killed(t, db), synced), "all in the log")
	write(t, db, "b", 800, 4000) // several memtables
	require.NoError(t, db.Close())
	require.Zero(t, find(t, db.Opts().Dir, synced), "closed")
	require.Zero(t, find(t, withTables(t, nil), synced), "tables and log")
	_, err := inspect.Folder(filepath.Join(t.TempDir(), "none"), synced)
	require.Error(t, err)
}

// Badger empties a file before it removes it.
func TestEmptyFiles(t *testing.T) {
	dir := withTables(t, nil)
	log, values := filepath.Join(dir, "00099.mem"), filepath.Join(dir, "000099.vlog")
	replace(t, log, nil)
	replace(t, values, nil)
	r := find(t, dir, synced)
	require.Empty(t, r.Damage)
	require.Len(t, r.Warnings, 1, "of the log: it may have been full")
	require.ElementsMatch(t, []string{log, values}, r.Empty)
}
