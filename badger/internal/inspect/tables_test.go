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

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

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
