package badger_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

func TestFreshFolderIsSmall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	b := open(t, dir, nil)
	create(t, b, record("id", "owner", "data"))

	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	assert.Less(t, apparentSize(t, dir), int64(100<<20))
}

// apparentSize counts bytes that are only reserved like those that are written.
func apparentSize(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		return nil
	}))
	return size
}

func TestOpenRefusesOptions(t *testing.T) {
	for name, c := range map[string]struct {
		dir string
		o   badger.Options
	}{
		"no folder":                     {"", badger.Options{}},
		"folder in memory":              {"x", badger.Options{InMemory: true}},
		"no new store in memory":        {"", badger.Options{InMemory: true, NoCreate: true}},
		"no damage in memory":           {"", badger.Options{InMemory: true, AcceptDamage: true}},
		"key in memory":                 {"", badger.Options{InMemory: true, EncryptionKey: make([]byte, 16)}},
		"key of 15 bytes":               {"x", badger.Options{EncryptionKey: make([]byte, 15)}},
		"namespace without slash":       {"x", badger.Options{Namespace: "keys"}},
		"namespace of a slash":          {"x", badger.Options{Namespace: "/"}},
		"namespace with inner slash":    {"x", badger.Options{Namespace: "a/b/"}},
		"namespace with odd characters": {"x", badger.Options{Namespace: "a b/"}},
		"namespace too long":            {"x", badger.Options{Namespace: strings.Repeat("a", 65) + "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			_, err := badger.Open(c.dir, &c.o)
			require.Error(t, err)
			assert.NoDirExists(t, "x")
		})
	}
}

func TestNoCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for _, when := range []string{"no folder", "empty folder"} {
		_, err := badger.Open(dir, &badger.Options{NoCreate: true})
		require.ErrorIs(t, err, badger.ErrNoStore, when)
		_, err = openURL(t, folderURL(dir, "create=0"))
		require.ErrorIs(t, err, badger.ErrNoStore, when)
		files, err := os.ReadDir(dir)
		if when == "no folder" {
			require.ErrorIs(t, err, fs.ErrNotExist, "Open made the folder")
			require.NoError(t, os.Mkdir(dir, 0o700))
			continue
		}
		require.NoError(t, err)
		require.Empty(t, files)
	}
	b := open(t, dir, nil)
	create(t, b, record("id", "owner", "data"))
	require.NoError(t, b.Close())
	b = open(t, dir, &badger.Options{NoCreate: true})
	_, err := b.Get(testContext(t), "id")
	require.NoError(t, err)
}

func TestOpenRefusesFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := badger.Open(dir, nil)
		assert.ErrorContains(t, err, "not a directory")
	}
}

func TestOpenRefusesUnwritableFolder(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no /proc, which not even root may write to")
	}
	_, err := badger.Open("/proc/self", nil)
	require.Error(t, err)
	var locked *badger.LockedError
	assert.NotErrorAs(t, err, &locked)
}

func TestRelativeFolderSurvivesChdir(t *testing.T) {
	t.Chdir(t.TempDir())
	b := open(t, "store", nil)
	t.Chdir(t.TempDir())
	create(t, b, record("id", "owner", "data")) // looks at the free space of the folder
}

func TestEncryption(t *testing.T) {
	dir := t.TempDir()
	key := []byte("0123456789abcdef0123456789abcdef")
	secret := strings.Repeat("a very secret text ", 10)
	b, err := badger.Open(dir, &badger.Options{EncryptionKey: key})
	require.NoError(t, err)
	create(t, b, record("id", "owner", secret))
	assert.False(t, anyFileHolds(t, dir, secret), "in the log")
	require.NoError(t, b.Close())
	assert.False(t, anyFileHolds(t, dir, secret), "in a table")
	assert.False(t, anyFileHolds(t, dir, string(key)))

	for name, wrong := range map[string][]byte{"another": bytes.Repeat([]byte{1}, 32), "none": nil} {
		_, err := badger.Open(dir, &badger.Options{EncryptionKey: wrong})
		assert.ErrorIs(t, err, badgerdb.ErrEncryptionKeyMismatch, name)
	}

	b = open(t, dir, &badger.Options{EncryptionKey: key})
	r, err := b.Get(testContext(t), "id")
	require.NoError(t, err)
	assert.Equal(t, secret, string(r.Data))
}

func TestNeedlessKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	b, err := badger.Open(dir, nil)
	require.NoError(t, err)
	create(t, b, record("id", "owner", "a plain text"))
	require.NoError(t, b.Close())
	assert.True(t, anyFileHolds(t, dir, "a plain text"), "or TestEncryption proves nothing")

	_, err = badger.Open(dir, &badger.Options{EncryptionKey: make([]byte, 16)})
	assert.ErrorIs(t, err, badgerdb.ErrEncryptionKeyMismatch)
}

func anyFileHolds(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	}))
	return found
}

func TestNewRefusesDatabase(t *testing.T) {
	memory := badgerdb.DefaultOptions("").WithInMemory(true)
	dir := t.TempDir()
	first, err := badgerdb.Open(badgerdb.DefaultOptions(dir).WithLogger(nil))
	require.NoError(t, err)
	require.NoError(t, first.Close())

	managed, err := badgerdb.OpenManaged(memory.WithLogger(nil))
	require.NoError(t, err)
	defer managed.Close()
	small, err := badgerdb.Open(memory.WithLogger(nil).WithMemTableSize(1 << 20).WithValueThreshold(1 << 10))
	require.NoError(t, err)
	defer small.Close()
	closed, err := badgerdb.Open(memory.WithLogger(nil))
	require.NoError(t, err)
	require.NoError(t, closed.Close())

	for name, db := range map[string]*badgerdb.DB{
		"nil":                        nil,
		"without conflict detection": newDB(t, memory.WithDetectConflicts(false)),
		"read-only":                  newDB(t, badgerdb.DefaultOptions(dir).WithReadOnly(true)),
		"managed":                    managed,
		"small transactions":         small,
		"closed":                     closed,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := badger.New(db, nil)
			assert.Error(t, err)
		})
	}
	assert.Zero(t, badger.Attached())
}

func TestNewRefusesOptionsOfOpen(t *testing.T) {
	db := newMemoryDB(t)
	for name, o := range map[string]badger.Options{
		"NoSync":        {NoSync: true},
		"NoCreate":      {NoCreate: true},
		"AcceptDamage":  {AcceptDamage: true},
		"InMemory":      {InMemory: true},
		"EncryptionKey": {EncryptionKey: make([]byte, 16)},
		"GCInterval":    {GCInterval: -1},
	} {
		_, err := badger.New(db, &o)
		assert.ErrorContains(t, err, name)
	}
}

func TestCloseLeavesSharedDatabaseOpen(t *testing.T) {
	db := newMemoryDB(t)
	first, second := handleOn(t, db, nil), handleOn(t, db, nil)
	require.NoError(t, first.Close())
	assert.False(t, db.IsClosed())
	create(t, second, record("id", "owner", "data"))
	require.NoError(t, second.Close())
	assert.False(t, db.IsClosed())
	assert.Zero(t, badger.Attached(), "nothing is kept for a database without handles")
}

func TestCloseClosesOwnDatabase(t *testing.T) {
	b := openMemory(t)
	require.NoError(t, b.Close())
	assert.True(t, badger.Database(b).IsClosed())
	assert.Zero(t, badger.Attached())
}

// A program that closes its database too early gets errors that are no answers.
func TestDatabaseClosedUnderneath(t *testing.T) {
	db := newMemoryDB(t)
	b := handleOn(t, db, nil)
	create(t, b, record("id", "owner", "data"))
	require.NoError(t, db.Close())

	ctx := testContext(t)
	calls := map[string]func() error{
		"Create": func() error { return b.Create(ctx, record("new", "owner", "data")) },
		"Get":    func() error { _, err := b.Get(ctx, "id"); return err },
		"Update": func() error { return b.Update(ctx, backend.Record{ID: "id", Revision: 1}) },
		"Delete": func() error { return b.Delete(ctx, "id") },
		"List":   func() error { _, err := b.List(ctx, backend.ListOptions{Limit: 1}); return err },
		"Touch":  func() error { return b.Touch(ctx, map[string]time.Time{"id": time.UnixMilli(1)}) },
		"Purge":  func() error { _, err := b.Purge(ctx, time.UnixMilli(1), 1); return err },
		"Watch":  func() error { _, err := b.Watch(ctx); return err },
		"Backup": func() error { return b.Backup(&bytes.Buffer{}) },
		"Restore": func() error {
			return b.Restore(&bytes.Buffer{})
		},
	}
	for name, call := range calls {
		assert.ErrorIs(t, call(), badger.ErrDatabaseGone, name)
	}
	_, err := badger.New(db, nil)
	assert.ErrorIs(t, err, badger.ErrDatabaseGone)
}

// Namespaces of one database know nothing of each other, though one name may
// begin like another.
func TestNamespacesAreApart(t *testing.T) {
	db := newMemoryDB(t)
	a := handleOn(t, db, &badger.Options{Namespace: "a/"})
	ar := handleOn(t, db, &badger.Options{Namespace: "ar/"})
	watch, err := a.Watch(testContext(t))
	require.NoError(t, err)

	create(t, ar, record("id", "owner", "of ar"))
	create(t, a, record("id", "owner", "of a"))
	require.NoError(t, ar.Delete(testContext(t), "id"))
	create(t, a, record("last", "owner", "of a"))

	assert.Equal(t, []string{"id", "last"}, []string{<-watch, <-watch})
	assert.Len(t, listAll(t, a, ""), 2)
	assert.Empty(t, listAll(t, ar, ""))
}
