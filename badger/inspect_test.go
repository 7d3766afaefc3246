package badger_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// killedStore is a copy of the folder of an open store with ten records, each of
// which was changed: what a process leaves that ends without a word. log is the
// file of its log, with what is written there.
func killedStore(t *testing.T) (dir, log string, written []byte) {
	t.Helper()
	b := open(t, t.TempDir(), nil)
	for i := range 10 {
		r := record(fmt.Sprint("id-", i), "owner", "first")
		create(t, b, r)
		r.Data, r.Revision = []byte("second"), 1
		require.NoError(t, b.Update(testContext(t), r))
	}
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(badger.Database(b).Opts().Dir)))
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	written, err = os.ReadFile(logs[0])
	require.NoError(t, err)
	return dir, logs[0], bytes.TrimRight(written, "\x00")
}

// patch changes one byte of a file.
func patch(t *testing.T, file string, at int, value byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{value}, int64(at))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestOpenAfterAKillSaysNothing(t *testing.T) {
	dir, _, _ := killedStore(t)
	var said bytes.Buffer
	b := open(t, dir, &badger.Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.Len(t, listAll(t, b, ""), 10)
	require.Empty(t, said.String())
}

// Badger itself would drop what follows the damage, and say nothing.
func TestOpenRefusesADamagedLog(t *testing.T) {
	dir, log, written := killedStore(t)
	patch(t, log, len(written)/2, written[len(written)/2]^0x10)
	for range 2 { // nothing is dropped by refusing
		_, err := badger.Open(dir, nil)
		require.ErrorIs(t, err, badger.ErrDamaged)
		require.ErrorContains(t, err, filepath.Base(log))
		require.NotContains(t, err.Error(), dir)
		_, err = openURL(t, folderURL(dir, ""))
		require.ErrorIs(t, err, badger.ErrDamaged)
		require.NotErrorIs(t, err, backend.ErrInvalidURL)
	}
	patch(t, log, len(written)/2, written[len(written)/2])
	b := open(t, dir, nil)
	for _, r := range listAll(t, b, "") {
		require.Equal(t, "second", string(r.Data))
	}
}

func TestAcceptDamage(t *testing.T) {
	dir, log, written := killedStore(t)
	patch(t, log, len(written)/2, written[len(written)/2]^0x10)
	var said bytes.Buffer
	b := open(t, dir, &badger.Options{AcceptDamage: true, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	left := len(listAll(t, b, ""))
	assert.True(t, 0 < left && left < 10, "%d records are left", left)
	assert.Contains(t, said.String(), "level=ERROR")
	assert.Contains(t, said.String(), filepath.Base(log))
}

// What was acknowledged unsynced may be lost anywhere by a power failure, whoever
// opens the folder next; once that was one who syncs, no more.
func TestDamageOfAnUnsyncedStore(t *testing.T) {
	dir, log, written := killedStore(t)
	b, err := badger.Open(dir, &badger.Options{NoSync: true})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	damaged := append(bytes.Clone(written), make([]byte, 16<<20-len(written))...)
	damaged[len(written)/2] ^= 0x10
	require.NoError(t, os.WriteFile(log, damaged, 0o600)) // as if that one had written it
	b, err = badger.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, os.WriteFile(log, damaged, 0o600))
	_, err = badger.Open(dir, nil)
	require.ErrorIs(t, err, badger.ErrDamaged)
}

// While another looks into a folder it is not opened without being looked into.
func TestOpenOfAFolderThatIsBeingInspected(t *testing.T) {
	dir, _, _ := killedStore(t)
	free, err := badger.TryLock(dir)
	require.NoError(t, err)
	_, err = badger.Open(dir, nil)
	var locked *badger.LockedError
	require.ErrorAs(t, err, &locked)
	free()
	open(t, dir, nil)
}

func TestDamagedTableCannotBeAccepted(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	create(t, b, record("id", "owner", "data"))
	require.NoError(t, b.Close())
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	patch(t, tables[0], 20, 0xff)
	_, err = badger.Open(dir, &badger.Options{AcceptDamage: true})
	require.ErrorIs(t, err, badger.ErrDamagedTable)
	require.ErrorIs(t, err, badger.ErrDamaged)
}

func TestOpenWithoutManifest(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, nil)
	create(t, b, record("id", "owner", "data"))
	require.NoError(t, b.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "MANIFEST")))
	for _, noCreate := range []bool{false, true} {
		_, err := badger.Open(dir, &badger.Options{NoCreate: noCreate})
		require.ErrorIs(t, err, badger.ErrDamaged)
	}
}

func TestOpenSaysThatATailWasDropped(t *testing.T) {
	dir, log, written := killedStore(t)
	patch(t, log, len(written)-10, written[len(written)-10]^0x10)
	var said bytes.Buffer
	b := open(t, dir, &badger.Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.Len(t, listAll(t, b, ""), 10)
	r, err := b.Get(testContext(t), "id-9")
	require.NoError(t, err)
	require.Equal(t, "first", string(r.Data), "the last change is the one that was dropped")
	assert.Contains(t, said.String(), "level=WARN")
	assert.Contains(t, said.String(), "is cut off")
	assert.NotContains(t, said.String(), dir)
}
