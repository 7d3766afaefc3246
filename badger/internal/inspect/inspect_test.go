package inspect_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

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

// logOf50 is the log of 50 transactions, and where each of them ends. Most of the
// zeros behind them are taken away, which spares the tests writing them.
func logOf50(t *testing.T, key []byte) (path string, log []byte, ends []int, o inspect.Options) {
	t.Helper()
	db := open(t, t.TempDir(), key)
	for i := range 50 {
		write(t, db, fmt.Sprint("n", i), 1, 40)
		log := bytes.TrimRight(read(t, only(t, db.Opts().Dir, "*.mem")), "\x00")
		ends = append(ends, len(log))
	}
	path = only(t, killed(t, db), "*.mem")
	log = read(t, path)[:ends[49]+256]
	o = optionsFor(t, filepath.Dir(path), key)
	o.LogSize = int64(len(log))
	return path, log, ends, o
}

// A byte that changes anywhere before the last transaction is damage; one within
// it may be what a crash left of it.
func TestLogWithAChangedByte(t *testing.T) {
	for name, key := range both {
		t.Run(name, func(t *testing.T) {
			path, log, ends, o := logOf50(t, key)
			last := ends[len(ends)-2]
			for at := 20; at < ends[len(ends)-1]; at += 1 + rand.IntN(3) {
				changed := bytes.Clone(log)
				changed[at] ^= 1 << rand.IntN(8)
				replace(t, path, changed)
				r := find(t, filepath.Dir(path), o)
				if at < last {
					require.Len(t, r.Damage, 1, "offset %d", at)
				} else {
					require.Empty(t, r.Damage, "offset %d is in the last transaction", at)
					require.Len(t, r.Warnings, 1, "offset %d", at)
				}
			}
			o.Synced = false
			changed := bytes.Clone(log)
			changed[100] ^= 1
			replace(t, path, changed)
			r := find(t, filepath.Dir(path), o)
			require.Empty(t, r.Damage, "what was not synced may be lost anywhere")
			require.Len(t, r.Warnings, 1)
		})
	}
}

func TestLogThatIsCutOff(t *testing.T) {
	path, log, ends, o := logOf50(t, nil)
	for at := range ends[len(ends)-1] + 10 {
		replace(t, path, log[:at])
		r := find(t, filepath.Dir(path), o)
		// A crash leaves logs of full size. A length in whole pages may be that.
		if at > 0 && at < ends[49] && at != logHeader && !slices.Contains(ends, at) && at%4096 != 0 {
			require.Len(t, r.Damage, 1, "cut at %d", at)
			continue
		}
		require.Empty(t, r.Damage, "cut at %d", at)
		if at < ends[49] || at%4096 != 0 {
			require.Len(t, r.Warnings, 1, "cut at %d", at)
		}
		require.Equal(t, at == 0, len(r.Empty) == 1)
	}
	// The rest of the file is there, but was never written.
	for at := ends[40] + 1; at < ends[41]; at++ {
		zeros := make([]byte, len(log)-at)
		replace(t, path, append(bytes.Clone(log[:at]), zeros...))
		r := find(t, filepath.Dir(path), o)
		require.Empty(t, r.Damage)
		if log[at-1] != 0 { // else it is as if cut earlier
			require.Len(t, r.Warnings, 1, "zeros from %d", at)
		}
	}
	// Pages reach the disk in any order: of the last transaction the end may be
	// there, and not the beginning.
	start, end := ends[48], ends[49]
	for at := start + 1; at < end; at++ {
		holed := bytes.Clone(log)
		clear(holed[start:at])
		replace(t, path, holed)
		r := find(t, filepath.Dir(path), o)
		require.Empty(t, r.Damage, "hole up to %d", at)
		require.Len(t, r.Warnings, 1)
	}
}

// withTables is a folder whose keys are in tables, with nothing in the log.
func withTables(t *testing.T, key []byte) string {
	t.Helper()
	db := open(t, t.TempDir(), key)
	for i := range 4 {
		write(t, db, fmt.Sprint("t", i), 100, 1000)
		require.NoError(t, db.Close())
		db = open(t, db.Opts().Dir, key)
	}
	write(t, db, "in the log", 10, 10)
	return killed(t, db)
}

// manifestEnds are the ends of the records of a MANIFEST.
func manifestEnds(manifest []byte) (ends []int) {
	for at := 8; at < len(manifest); {
		at += 8 + int(uint32(manifest[at])<<24|uint32(manifest[at+1])<<16|uint32(manifest[at+2])<<8|uint32(manifest[at+3]))
		ends = append(ends, at)
	}
	return ends
}

func TestManifestThatLacksTables(t *testing.T) {
	for name, key := range both {
		t.Run(name, func(t *testing.T) { testManifestThatLacksTables(t, key) })
	}
}

func testManifestThatLacksTables(t *testing.T, key []byte) {
	dir := withTables(t, key)
	o := optionsFor(t, dir, key)
	path := filepath.Join(dir, "MANIFEST")
	manifest := read(t, path)
	ends := manifestEnds(manifest)
	require.GreaterOrEqual(t, len(ends), 4)
	require.Zero(t, find(t, dir, o))

	for _, at := range ends[:len(ends)-1] {
		replace(t, path, manifest[:at])
		require.Len(t, find(t, dir, o).Damage, 1, "cut at %d", at)
		replace(t, path, manifest[:at+3])
		r := find(t, dir, o)
		require.Len(t, r.Damage, 1, "cut at %d", at+3)
		require.Len(t, r.Warnings, 1)
	}
	// A length that points behind the end is taken for a cut.
	changed := bytes.Clone(manifest)
	changed[ends[0]+3] = 0xff
	replace(t, path, changed)
	require.Len(t, find(t, dir, o).Damage, 1)

	require.NoError(t, os.Remove(path))
	require.Len(t, find(t, dir, o).Damage, 1, "no MANIFEST")

	// What Badger finds itself is left to it.
	changed = bytes.Clone(manifest)
	changed[ends[0]+8] ^= 1 // in a record
	replace(t, path, changed)
	require.Zero(t, find(t, dir, o))
}

// What a crash during a compaction leaves holds nothing that is not elsewhere.
func TestTablesOfAnInterruptedCompaction(t *testing.T) {
	for name, key := range both {
		t.Run(name, func(t *testing.T) { testInterruptedCompaction(t, key) })
	}
}

func testInterruptedCompaction(t *testing.T, key []byte) {
	dir := withTables(t, key)
	o := optionsFor(t, dir, key)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	content := read(t, tables[0])
	added := filepath.Join(dir, "000999.sst")
	replace(t, added, content)
	require.Zero(t, find(t, dir, o))

	for _, size := range []int{0, 1, 100, len(content) / 2, len(content) - 1} {
		replace(t, added, content[:size])
		r := find(t, dir, o)
		require.Empty(t, r.Damage, size)
		require.Len(t, r.Warnings, 1, size)
	}
	replace(t, added, make([]byte, len(content))) // made, not written
	require.Len(t, find(t, dir, o).Warnings, 1)
}

// A damaged table would end the process as Badger opens it.
func TestDamagedTable(t *testing.T) {
	for name, key := range both {
		t.Run(name, func(t *testing.T) {
			dir := withTables(t, key)
			o := optionsFor(t, dir, key)
			tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
			require.NoError(t, err)
			content := read(t, tables[0])
			for range 200 {
				changed := bytes.Clone(content)
				at := rand.IntN(len(changed))
				changed[at] ^= 1 << rand.IntN(8)
				replace(t, tables[0], changed)
				require.Len(t, find(t, dir, o).Tables, 1, "offset %d of %d", at, len(content))
			}
			for _, size := range []int{0, 1, len(content) / 2, len(content) - 1} {
				replace(t, tables[0], content[:size])
				require.Len(t, find(t, dir, o).Tables, 1, "%d of %d bytes", size, len(content))
			}
		})
	}
}

// The header of an encrypted log is covered by no checksum.
func TestHeaderOfAnEncryptedLog(t *testing.T) {
	path, log, _, o := logOf50(t, both["encrypted"])
	for at := 8; at < logHeader; at++ {
		changed := bytes.Clone(log)
		changed[at] ^= 1 << rand.IntN(8)
		replace(t, path, changed)
		require.Len(t, find(t, filepath.Dir(path), o).Damage, 1, "offset %d", at)
	}
	log[7] = 0 // the id of its key: as if it were not encrypted
	replace(t, path, log)
	require.Len(t, find(t, filepath.Dir(path), o).Damage, 1)
}

// A rest that no transaction can be long enough for is damage, and is not searched
// for transactions byte by byte.
func TestLongGarbage(t *testing.T) {
	path, log, ends, o := logOf50(t, nil)
	log = append(log[:ends[20]], make([]byte, 16<<20-ends[20])...)
	random := rand.New(rand.NewPCG(1, 2))
	for i := ends[20]; i < len(log); i++ {
		log[i] = byte(random.Uint32())
	}
	o.LogSize = int64(len(log))
	replace(t, path, log)
	require.Len(t, find(t, filepath.Dir(path), o).Damage, 1)
	clear(log[ends[20]+2<<20:]) // as long as one can be
	replace(t, path, log)
	r := find(t, filepath.Dir(path), o)
	require.Empty(t, r.Damage)
	require.Len(t, r.Warnings, 1)
}

// After a compaction that dropped deleted keys, the tables that went into it hold
// what is nowhere else. The MANIFEST says so, until it is written anew.
func TestMergedTablesThatTheManifestNamesNoMore(t *testing.T) {
	dir := withTables(t, nil)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	first := read(t, tables[0])
	other := withTables(t, nil) // another database, whose later tables lack the first's keys
	manifest := read(t, filepath.Join(other, "MANIFEST"))
	ends := manifestEnds(manifest)
	// Without the record that made the first table.
	replace(t, filepath.Join(other, "MANIFEST"), append(bytes.Clone(manifest[:ends[0]]), manifest[ends[1]:]...))
	replace(t, filepath.Join(other, filepath.Base(tables[0])), first)
	r := find(t, other, synced)
	require.Empty(t, r.Damage)
	require.Len(t, r.Warnings, 1)
}

// Badger gives the ids of tables again when all with higher ones are gone.
func TestManifestThatLacksATableWhoseIDWasUsedBefore(t *testing.T) {
	dir := withTables(t, nil)
	path := filepath.Join(dir, "MANIFEST")
	manifest := read(t, path)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	last := tables[len(tables)-1]
	id, ok := table.ParseFileID(filepath.Base(last))
	require.True(t, ok)
	// As if another table of this id had been made and merged, and nothing since.
	body, err := proto.Marshal(&pb.ManifestChangeSet{Changes: []*pb.ManifestChange{{Id: id, Op: pb.ManifestChange_DELETE}}})
	require.NoError(t, err)
	ends := manifestEnds(manifest)
	record := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	record = binary.BigEndian.AppendUint32(record, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	replace(t, path, slices.Concat(manifest[:ends[len(ends)-2]], record, body))
	r := find(t, dir, synced)
	require.Equal(t, 1, len(r.Damage)+len(r.Warnings), "%v", r)
}

// What was not synced may be lost in any order.
func TestUnsyncedManifest(t *testing.T) {
	dir := withTables(t, nil)
	path := filepath.Join(dir, "MANIFEST")
	manifest := read(t, path)
	replace(t, path, manifest[:manifestEnds(manifest)[1]])
	o := synced
	o.Synced = false
	r := find(t, dir, o)
	require.Empty(t, r.Damage)
	require.Len(t, r.Warnings, 1)
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
