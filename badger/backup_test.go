package badger_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// fillVaried adds n records of all kinds.
func fillVaried(t *testing.T, b *badger.Backend, n int) {
	t.Helper()
	for i := range n {
		r := record(fmt.Sprintf("id-%04d", i), fmt.Sprint("owner-", i%3), strings.Repeat("x", i*7%2000))
		if i%2 == 0 {
			r.PurgeAt = time.UnixMilli(int64(i)).UTC()
		}
		create(t, b, r)
		if i%5 == 0 {
			r.Revision, r.Data = 1, []byte("changed")
			require.NoError(t, b.Update(testContext(t), r))
			require.NoError(t, b.Touch(testContext(t), map[string]time.Time{r.ID: time.UnixMilli(12345)}))
		}
	}
}

func backupOf(t *testing.T, b *badger.Backend) []byte {
	t.Helper()
	var w bytes.Buffer
	require.NoError(t, b.Backup(&w))
	return w.Bytes()
}

func TestBackupAndRestore(t *testing.T) {
	from, to := openMemory(t), open(t, t.TempDir(), &badger.Options{NoSync: true})
	fillVaried(t, from, 300)
	watch, err := to.Watch(testContext(t))
	require.NoError(t, err)

	backup := backupOf(t, from)
	require.NoError(t, to.Restore(iotest.OneByteReader(bytes.NewReader(backup))))
	assert.Equal(t, listAll(t, from, ""), listAll(t, to, ""))
	assert.Equal(t, listAll(t, from, "owner-1"), listAll(t, to, "owner-1"))
	assertConsistent(t, to)
	assert.Equal(t, backup, backupOf(t, to))
	assert.Equal(t, "", <-watch, "watchers are told that much changed")
	create(t, to, record("new", "owner", "data"))
}

func TestBackupOfEmptyStore(t *testing.T) {
	backup := backupOf(t, openMemory(t))
	to := openMemory(t)
	require.NoError(t, to.Restore(bytes.NewReader(backup)))
	assert.Empty(t, allKeys(t, badger.Database(to)))
}

// goldenStore is what the golden backups are of, that of version 1 without counts
// and usage.
func goldenStore(t *testing.T) *badger.Backend {
	t.Helper()
	b := openMemory(t)
	r := record("id-1", "owner", "data")
	r.PurgeAt = time.UnixMilli(1)
	create(t, b, r, record("id-2", "", ""))
	return b
}

// The form of version 1, spelt out a second time, is restored for ever.
func TestBackupGolden1(t *testing.T) {
	golden, err := os.ReadFile("testdata/v1.backup")
	require.NoError(t, err)

	var want []byte
	frame := func(id, envelope string) {
		want = binary.BigEndian.AppendUint32(want, uint32(1+len(id)+len(envelope)))
		want = append(append(append(want, byte(len(id))), id...), envelope...)
	}
	want = append(want, "keystore badger backup 1\n"...)
	never := strings.Repeat("\x00", 8)
	frame("id-1", "\x01\x00\x00\x00\x00\x00\x00\x00\x01"+never+"\x80\x00\x00\x00\x00\x00\x00\x01\x00\x05ownerdata")
	frame("id-2", "\x01\x00\x00\x00\x00\x00\x00\x00\x01"+never+never+"\x00\x00")
	assert.Equal(t, withTail(want, 2), golden)

	to := openMemory(t)
	require.NoError(t, to.Restore(bytes.NewReader(golden)))
	assert.Equal(t, listAll(t, goldenStore(t), ""), listAll(t, to, ""))
	assertConsistent(t, to)
}

// withTail adds the end of a backup.
func withTail(backup []byte, count byte) []byte {
	backup = append(backup, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	backup = append(backup, count)
	sum := sha256.Sum256(backup)
	return append(backup, sum[:]...)
}

// So is that of version 2, which Backup writes.
func TestBackupGolden2(t *testing.T) {
	from := goldenStore(t)
	spend(t, from, "id-1", 0x0102030405060708, 300, window("day", 24*time.Hour, 86400))
	addUsage(t, from, addition("kid-1", 1, 9, time.UnixMilli(2)))
	golden, err := os.ReadFile("testdata/v2.backup")
	require.NoError(t, err)
	assert.Equal(t, golden, backupOf(t, from))

	want := []byte("keystore badger backup 2\n")
	frame := func(kind byte, id, value string) {
		want = append(binary.BigEndian.AppendUint32(want, uint32(3+len(id)+len(value))), kind)
		want = append(append(binary.BigEndian.AppendUint16(want, uint16(len(id))), id...), value...)
	}
	never := strings.Repeat("\x00", 8)
	frame('r', "id-1", "\x01\x00\x00\x00\x00\x00\x00\x00\x01"+never+"\x80\x00\x00\x00\x00\x00\x00\x01\x00\x05ownerdata")
	frame('r', "id-2", "\x01\x00\x00\x00\x00\x00\x00\x00\x01"+never+never+"\x00\x00")
	frame('c', "id-1", withSum("\x01\x80\x00\x00\x00\x0a\x4c\xb8\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08\x03day\x80\xa3\x05\x80\xa3\x05\xac\x02"))
	frame('u', "kid-1\x00\x00\x00\x00\x01", withSum("\x01\x80\x00\x00\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00\x00\x09\x0307a\x05"))
	assert.Equal(t, withTail(want, 4), golden)

	to := openMemory(t)
	require.NoError(t, to.Restore(bytes.NewReader(golden)))
	assert.Equal(t, golden, backupOf(t, to))
	assertConsistent(t, to)
}

// A backup is of one moment: of records written in pairs it holds both or none.
func TestBackupDuringWrites(t *testing.T) {
	b := openMemory(t)
	fillVaried(t, b, 50)
	create(t, b, record("z-last", "owner", "0"), record("a-first", "owner", "0"))
	begun, goOn := make(chan struct{}), make(chan struct{})
	slow := &slowWriter{begun: begun, goOn: goOn}
	failed := make(chan error)
	go func() { failed <- b.Backup(slow) }()
	<-begun
	for _, id := range []string{"a-first", "z-last"} {
		require.NoError(t, b.Update(testContext(t), backend.Record{ID: id, Revision: 1, Data: []byte("1")}))
	}
	require.NoError(t, b.Delete(testContext(t), "id-0049"))
	create(t, b, record("y-new", "owner", "data"))
	close(goOn)
	require.NoError(t, <-failed)

	to := openMemory(t)
	require.NoError(t, to.Restore(&slow.content))
	assert.Len(t, listAll(t, to, ""), 52)
	for _, id := range []string{"a-first", "z-last"} {
		r, err := to.Get(testContext(t), id)
		require.NoError(t, err)
		assert.Equal(t, "0", string(r.Data), id)
	}
}

// slowWriter stops in its first Write until goOn is closed.
type slowWriter struct {
	begun, goOn chan struct{}
	content     bytes.Buffer
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.content.Len() == 0 {
		close(w.begun)
		<-w.goOn
	}
	return w.content.Write(p)
}

func TestBackupReportsFailingWriter(t *testing.T) {
	b := openMemory(t)
	fillVaried(t, b, 20)
	broken := errors.New("broken pipe")
	r, w := io.Pipe()
	require.NoError(t, r.CloseWithError(broken))
	assert.ErrorIs(t, b.Backup(w), broken)
}

func TestRestoreRefusesStoreInUse(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 10)
	backup := backupOf(t, from)
	to := openMemory(t)
	create(t, to, record("revoked", "owner", "later than the backup"))
	err := to.Restore(bytes.NewReader(backup))
	assert.ErrorIs(t, err, backend.ErrNotApplied)
	assert.Len(t, listAll(t, to, ""), 1)
	create(t, to, record("new", "owner", "it goes on working"))
}

// Of a shared database, only the namespace must be empty and is backed up.
func TestRestoreIntoSharedDatabase(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 10)
	backup := backupOf(t, from)
	db := newMemoryDB(t)
	other := handleOn(t, db, &badger.Options{Namespace: "other/"})
	create(t, other, record("id", "owner", "data"))
	require.NoError(t, db.Update(func(txn *badgerdb.Txn) error { return txn.Set([]byte("keystore"), []byte("x")) }))
	to := handleOn(t, db, nil)
	require.NoError(t, to.Restore(bytes.NewReader(backup)))
	assert.Equal(t, backup, backupOf(t, to))
	assert.Len(t, listAll(t, other, ""), 1)
}

// A backup that is cut short or altered anywhere fails, and what it left can not
// be mistaken for a store: neither by this handle, nor by another, nor later.
func TestRestoreOfBadBackup(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 40)
	good := backupOf(t, from)
	cut := func(n int) []byte { return good[:n] }
	flip := func(n int) []byte {
		bad := bytes.Clone(good)
		bad[n] ^= 1
		return bad
	}
	for name, bad := range map[string][]byte{
		"cut in the middle":   cut(len(good) / 2),
		"cut before the end":  cut(len(good) - 44),
		"cut by a byte":       cut(len(good) - 1),
		"altered data":        flip(len(good) - 100),
		"altered count":       flip(len(good) - 33),
		"altered checksum":    flip(len(good) - 1),
		"something behind it": append(bytes.Clone(good), 0),
		"newer record":        flip(len("keystore badger backup 2\n") + 4 + 3 + len("id-0000")),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, err := badger.Open(dir, &badger.Options{NoSync: true})
			require.NoError(t, err)
			other := handleOn(t, badger.Database(b), nil)
			err = b.Restore(bytes.NewReader(bad))
			require.ErrorIs(t, err, badger.ErrBadBackup)
			require.ErrorIs(t, err, badger.ErrUnfinishedRestore)
			assertUnfinished(t, b)
			assertUnfinished(t, other)
			require.NoError(t, other.Close())
			require.NoError(t, b.Close())

			b = open(t, dir, nil)
			assertUnfinished(t, b)
			require.NoError(t, b.Restore(bytes.NewReader(good)))
			assert.Equal(t, good, backupOf(t, b))
			assertConsistent(t, b)
		})
	}
}

func assertUnfinished(t *testing.T, b *badger.Backend) {
	t.Helper()
	ctx := testContext(t)
	_, err := b.Get(ctx, "id-0001")
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	_, err = b.List(ctx, backend.ListOptions{Limit: 1})
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	err = b.Create(ctx, record("new", "owner", "data"))
	assert.ErrorIs(t, err, badger.ErrUnfinishedRestore)
	assert.ErrorIs(t, err, backend.ErrNotApplied)
	assert.ErrorIs(t, b.Backup(io.Discard), badger.ErrUnfinishedRestore)
}

// A backup with a good checksum may still be none that Backup wrote: one id twice
// would leave an index entry of the record that was overwritten.
func TestRestoreWantsAscendingIDs(t *testing.T) {
	frame := func(id string) string {
		envelope := "\x01\x00\x00\x00\x00\x00\x00\x00\x01" + strings.Repeat("\x00", 18)
		return string(binary.BigEndian.AppendUint32(nil, uint32(1+len(id)+len(envelope)))) + string(rune(len(id))) + id + envelope
	}
	for content, good := range map[string]bool{
		frame("a") + frame("b"): true,
		frame("b") + frame("a"): false,
		frame("a") + frame("a"): false,
		frame("a") + frame("?"): false,
		frame("") + frame("a"):  false,
		frame("a"):              false, // and a count of 2
	} {
		content := withTail([]byte("keystore badger backup 1\n"+content), 2)
		err := openMemory(t).Restore(bytes.NewReader(content))
		if good {
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, badger.ErrBadBackup, "%q", content)
		}
	}
}

// What is no backup at all leaves the store as it is.
func TestRestoreOfSomethingElse(t *testing.T) {
	b := openMemory(t)
	for _, content := range []string{"", "keystore badger", "keystore badger backup 3\n", strings.Repeat("x", 100)} {
		err := b.Restore(strings.NewReader(content))
		assert.ErrorIs(t, err, badger.ErrBadBackup)
		assert.ErrorIs(t, err, backend.ErrNotApplied)
	}
	create(t, b, record("id", "owner", "data"))
}

func TestRestoreReportsFailingReader(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 10)
	broken := errors.New("broken pipe")
	backup := backupOf(t, from)
	err := openMemory(t).Restore(io.MultiReader(bytes.NewReader(backup[:len(backup)/2]), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)
	assert.NotErrorIs(t, err, badger.ErrBadBackup)
}

// While a Restore runs, the store answers nothing and a second one is refused.
func TestRestoreKeepsOthersOut(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 100)
	backup := backupOf(t, from)
	b := openMemory(t)
	r, w := io.Pipe()
	done := make(chan error)
	go func() { done <- b.Restore(r) }()
	_, err := w.Write(backup[:len(backup)/2])
	require.NoError(t, err)
	assertUnfinished(t, b)
	assert.ErrorIs(t, b.Restore(bytes.NewReader(backup)), backend.ErrNotApplied)
	_, err = w.Write(backup[len(backup)/2:])
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, <-done)
	assert.Equal(t, backup, backupOf(t, b))
}

func TestRestoreAfterClose(t *testing.T) {
	b := openMemory(t)
	require.NoError(t, b.Close())
	assert.ErrorIs(t, b.Restore(strings.NewReader("")), backend.ErrClosed)
	assert.ErrorIs(t, b.Backup(io.Discard), backend.ErrClosed)
}

func TestRestoreWantsRoom(t *testing.T) {
	from := openMemory(t)
	fillVaried(t, from, 10)
	disk := smallDisk(t, 64)
	b := open(t, filepath.Join(disk, "store"), &badger.Options{Reserve: 16 << 20})
	fillDisk(t, filepath.Join(disk, "filler"), 12<<20)
	assert.ErrorIs(t, b.Restore(bytes.NewReader(backupOf(t, from))), badger.ErrNoSpace)
	require.NoError(t, os.Remove(filepath.Join(disk, "filler")))
	require.NoError(t, b.Restore(bytes.NewReader(backupOf(t, from))))
}

// Whatever it is given, the reader of backups neither panics nor takes more
// memory than a record may have; a success is a backup that reads the same again.
func FuzzReadBackup(f *testing.F) {
	for _, name := range []string{"testdata/v1.backup", "testdata/v2.backup"} {
		golden, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(golden)
		f.Add(golden[:len(golden)-1])
	}
	f.Add([]byte("keystore badger backup 1\n\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, content []byte) {
		n, err := badger.ReadBackup(bytes.NewReader(content))
		switch {
		case errors.Is(err, badger.ErrBadBackup):
		case errors.Is(err, io.EOF):
			sum := sha256.Sum256(content[:len(content)-sha256.Size])
			if !bytes.HasSuffix(content, sum[:]) || n > len(content)/27 {
				t.Fatalf("%d records accepted in %q", n, content)
			}
		default:
			t.Fatalf("error %v", err)
		}
	})
}
