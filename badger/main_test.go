package badger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/conformance"
)

// TestMain lets tests start this binary as a process of its own, see child.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](os.Getenv(folderVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		folders := &folders{dir: t.TempDir(), open: make(map[string]*folder)}
		conformance.Run(t, folders.handle)
	})
	t.Run("memory", func(t *testing.T) {
		dbs := make(map[string]*badgerdb.DB)
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			if dbs[name] == nil {
				dbs[name] = newMemoryDB(t)
			}
			b, err := badger.New(dbs[name], nil)
			require.NoError(tb, err)
			return b
		})
	})
	t.Run("namespaces of one database", func(t *testing.T) {
		db := newMemoryDB(t)
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			b, err := badger.New(db, &badger.Options{Namespace: name + "/"})
			require.NoError(tb, err)
			return b
		})
	})
}

// folders opens stores on disk by name, any number of handles on one folder: the
// database of a folder is closed with the last handle.
type folders struct {
	dir  string
	mu   sync.Mutex
	open map[string]*folder
}

type folder struct {
	first   *badger.Backend // holds the database
	handles int
}

type handle struct {
	*badger.Backend
	close func() error
}

func (h handle) Close() error { return h.close() }

func (f *folders) handle(tb testing.TB, name string) backend.Backend {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.open[name]
	if at == nil {
		first, err := badger.Open(filepath.Join(f.dir, name), nil)
		require.NoError(tb, err)
		at = &folder{first: first}
		f.open[name] = at
	}
	b, err := badger.New(badger.Database(at.first), nil)
	require.NoError(tb, err)
	at.handles++
	var once sync.Once
	return handle{b, func() error {
		err := b.Close()
		once.Do(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if at.handles--; at.handles == 0 {
				delete(f.open, name)
				err = at.first.Close()
			}
		})
		return err
	}}
}

// newMemoryDB opens a database of the kind a program would share with New.
func newMemoryDB(t testing.TB) *badgerdb.DB {
	t.Helper()
	return newDB(t, badgerdb.DefaultOptions("").WithInMemory(true))
}

func newDB(t testing.TB, o badgerdb.Options) *badgerdb.DB {
	t.Helper()
	db, err := badgerdb.Open(o.WithLogger(nil).WithMemTableSize(8 << 20).WithMetricsEnabled(false))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// open opens a folder and closes it when the test ends.
func open(t testing.TB, dir string, o *badger.Options) *badger.Backend {
	t.Helper()
	b, err := badger.Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func openMemory(t testing.TB) *badger.Backend {
	t.Helper()
	return open(t, "", &badger.Options{InMemory: true})
}

func handleOn(t testing.TB, db *badgerdb.DB, o *badger.Options) *badger.Backend {
	t.Helper()
	b, err := badger.New(db, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// testContext bounds what a test waits for.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func record(id, owner, data string) backend.Record {
	return backend.Record{ID: id, Owner: owner, Data: []byte(data)}
}

func create(t testing.TB, b backend.Backend, records ...backend.Record) {
	t.Helper()
	for _, r := range records {
		require.NoError(t, b.Create(testContext(t), r))
	}
}

func listAll(t testing.TB, b backend.Backend, owner string) []backend.Record {
	t.Helper()
	var all []backend.Record
	after := ""
	for {
		page, err := b.List(testContext(t), backend.ListOptions{Owner: owner, After: after, Limit: backend.MaxLimit})
		require.NoError(t, err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1].ID
	}
}
