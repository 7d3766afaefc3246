package stores

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/badger"
)

// Dir is the folder in which stores of Badger stay from run to run, "" if they do
// not stay: that of KEYSTORE_BENCH_DIR. They are only read in benchmarks.
var Dir = os.Getenv("KEYSTORE_BENCH_DIR")

// openBadger opens a store of a temporary folder, with the driver's own settings:
// synced. From PersistentKeys on it is one that stays in [Dir].
func openBadger(tb testing.TB, keys int) *Store {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "badger")
	if Dir != "" && keys >= PersistentKeys {
		dir = filepath.Join(Dir, fmt.Sprintf("badger-%d", keys))
	}
	s := &Store{tb: tb}
	s.must(prepareBadger(dir, keys))
	var err error
	s.Tokens, err = readLines(filepath.Join(dir, "tokens"))
	s.must(err)
	Shuffle(s.Tokens)
	db, back, err := openFolder(filepath.Join(dir, "store"), &badger.Options{})
	s.must(err)
	s.closing(db.Close)
	s.Backend, s.Bare = back, bareBadger{db}
	tb.Cleanup(s.Close)
	return s
}

// OnBadger is a store on a database of the caller's, who closes it.
func OnBadger(tb testing.TB, db *badgerdb.DB, keys int) *Store {
	tb.Helper()
	s := &Store{tb: tb, Bare: bareBadger{db}}
	back, err := badger.New(db, nil)
	s.must(err)
	s.Backend = back
	tb.Cleanup(s.Close)
	s.Tokens, err = fill(back, keys)
	s.must(err)
	return s
}

// PersistentKeys is from how many keys on a store takes so long to make that it stays
// in [Dir].
const PersistentKeys = 1_000_000

// openFolder opens the database and the backend on it, as badger.Open does.
func openFolder(folder string, o *badger.Options) (*badgerdb.DB, *badger.Backend, error) {
	opts, err := badger.DatabaseOptions(folder, o)
	if err != nil {
		return nil, nil, err
	}
	db, err := badgerdb.Open(opts)
	if err != nil {
		return nil, nil, err
	}
	back, err := badger.New(db, &badger.Options{Reserve: o.Reserve})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, back, nil
}

// prepareBadger makes a store, unsynced, and a file of tokens, unless there are
// some. A store that was not finished does not count.
func prepareBadger(dir string, keys int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	unfinished := dir + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o700)); err != nil {
		return err
	}
	tokens, err := fillFolder(filepath.Join(unfinished, "store"), keys)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // what filling took is no part of what is measured
	text := strings.Join(tokens, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(unfinished, "tokens"), []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}

func fillFolder(folder string, keys int) (tokens []string, err error) {
	db, back, err := openFolder(folder, &badger.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, back.Close(), db.Close()) }()
	tokens, err = fill(back, keys)
	if err != nil {
		return nil, err
	}
	return tokens, db.Flatten(2) // so that reads meet tables, not the log
}

func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	in := bufio.NewScanner(f)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return lines, in.Err()
}

// bareBadger uses one transaction for each operation, which is synced if it writes.
type bareBadger struct{ db *badgerdb.DB }

func (d bareBadger) Reader(ids []string) (func(i int) (int, error), error) {
	names := make([][]byte, len(ids))
	for i, id := range ids {
		names[i] = []byte("keystore/r" + id)
	}
	return func(i int) (n int, err error) {
		txn := d.db.NewTransaction(false)
		defer txn.Discard()
		item, err := txn.Get(names[i])
		if errors.Is(err, badgerdb.ErrKeyNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return n, item.Value(func(v []byte) error { n = len(v); return nil })
	}, nil
}

func bareName(id string) []byte         { return []byte("bare/r" + id) }
func bareOwned(owner string) []byte     { return []byte("bare/o" + owner + "\x00") }
func bareEntry(owner, id string) []byte { return append(bareOwned(owner), id...) }

func (d bareBadger) Put(id, owner string, value []byte) error {
	return d.db.Update(func(txn *badgerdb.Txn) error {
		return errors.Join(txn.Set(bareName(id), value), txn.Set(bareEntry(owner, id), []byte{1}))
	})
}

func (d bareBadger) Replace(id, _ string, value []byte) error {
	return d.db.Update(func(txn *badgerdb.Txn) error {
		item, err := txn.Get(bareName(id))
		if err != nil {
			return err
		}
		if err := item.Value(func([]byte) error { return nil }); err != nil {
			return err
		}
		return txn.Set(bareName(id), value)
	})
}

func (d bareBadger) Page(owner string, limit int) (n int, err error) {
	err = d.db.View(func(txn *badgerdb.Txn) error {
		prefix := bareOwned(owner)
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid() && n < limit; it.Next() {
			item, err := txn.Get(bareName(string(it.Item().Key()[len(prefix):])))
			if err != nil {
				return err
			}
			if _, err := item.ValueCopy(nil); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

func (d bareBadger) Delete(owner string, ids []string) error {
	return d.db.Update(func(txn *badgerdb.Txn) error {
		for _, id := range ids {
			if err := errors.Join(txn.Delete(bareName(id)), txn.Delete(bareEntry(owner, id))); err != nil {
				return err
			}
		}
		return nil
	})
}
