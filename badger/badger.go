package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Watcher = (*Backend)(nil)
)

// Backend is a handle on a store. It is safe for concurrent use.
type Backend struct {
	db     *badgerdb.DB
	owned  bool // db is closed with the handle
	id     storeID
	keys   keyspace
	shared *shared
	spends spends
	space  space
	log    *slog.Logger

	closeOnce  sync.Once
	closing    chan struct{}
	calls      sync.RWMutex // see enter
	background sync.WaitGroup
}

// Open opens the store in the folder dir, and creates both if need be, the
// folder with mode 0700, unless Options.NoCreate forbids it. The folder stays locked until [Backend.Close]: if it
// is open already, in another process or in this one, Open returns a
// [*LockedError] at once.
//
// A wrong, missing or needless encryption key is an error that Is
// badger.ErrEncryptionKeyMismatch of Badger's package. If less than half the
// reserve of disk space is free, Open returns [ErrNoSpace], because to open a
// store may take space.
func Open(dir string, o *Options) (*Backend, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	var db *badgerdb.DB
	if opts.InMemory {
		db, err = openInMemory(dir, &opts)
	} else {
		db, err = openFolder(dir, &opts)
	}
	if err != nil {
		return nil, err
	}
	b, err := newBackend(db, true, &opts)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if opts.GCInterval > 0 && !opts.InMemory {
		b.background.Go(func() { b.collectGarbage(opts.GCInterval) })
	}
	return b, nil
}

func openInMemory(dir string, o *Options) (*badgerdb.DB, error) {
	if dir != "" {
		return nil, errors.New("badger: a store with Options.InMemory has no folder")
	}
	return openDatabase(o.upstream(""))
}

func openFolder(dir string, o *Options) (*badgerdb.DB, error) {
	if dir == "" {
		return nil, errors.New("badger: no folder is named")
	}
	// Absolute, because the reserve is watched even if the program moves.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("badger: %w", err)
	}
	if o.NoCreate {
		if err := checkStore(dir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("badger: %w", err)
	}
	if err := (space{[]string{dir}, o.Reserve}).check(halfReserve); err != nil {
		return nil, err
	}
	if err := checkEncryption(dir, o.EncryptionKey); err != nil {
		return nil, err
	}
	if err := inspectFolder(dir, o); err != nil {
		return nil, err
	}
	db, err := openDatabase(o.upstream(dir))
	if err != nil {
		if locked := lockedError(err, dir); locked != nil {
			return nil, locked
		}
		return nil, fmt.Errorf("badger: %w", err)
	}
	// Now that Badger holds the lock, and has read what the last process left.
	if err := markUnsynced(dir, o.NoSync); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkStore returns ErrNoStore unless dir holds files of a database.
func checkStore(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("badger: %w", err)
	}
	for _, f := range files {
		switch filepath.Ext(f.Name()) {
		case ".sst", ".mem":
			return nil
		}
		if f.Name() == badgerdb.ManifestFilename {
			return nil
		}
	}
	return ErrNoStore
}

// checkEncryption reports a key that does not fit before the database is opened,
// because Badger leaks goroutines when it finds out by itself.
func checkEncryption(dir string, key []byte) error {
	_, err := badgerdb.OpenKeyRegistry(badgerdb.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: key})
	switch {
	case errors.Is(err, badgerdb.ErrEncryptionKeyMismatch) && len(key) == 0:
		return fmt.Errorf("badger: the folder is encrypted and no key was given: %w", err)
	case errors.Is(err, badgerdb.ErrEncryptionKeyMismatch):
		return fmt.Errorf("badger: the folder was not encrypted with this key, or not at all: %w", err)
	case err != nil:
		return fmt.Errorf("badger: %w", err)
	}
	return nil
}

func openDatabase(o badgerdb.Options) (db *badgerdb.DB, err error) {
	defer contain(nil, &err)
	return badgerdb.Open(o)
}

// New opens a handle on the store in db, which stays the caller's: close db
// after all handles. Handles on one db and namespace are one store, whose
// changes all their watchers see.
//
// The options that say how to open a database must be unset. Durability is that
// of db; it is for its owner to run the value log's garbage collection.
//
// New refuses a db that is closed, read-only, managed, without DetectConflicts
// or with MemTableSize under 1.5 MiB.
func New(db *badgerdb.DB, o *Options) (*Backend, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o != nil && (o.NoSync || o.NoCreate || o.AcceptDamage || o.InMemory || len(o.EncryptionKey) > 0 || o.GCInterval != 0) {
		return nil, errors.New("badger: NoSync, NoCreate, AcceptDamage, InMemory, EncryptionKey and GCInterval are options of Open, not of New")
	}
	if err := checkDatabase(db); err != nil {
		return nil, err
	}
	if upstream := db.Opts(); !upstream.SyncWrites && !upstream.InMemory {
		opts.Logger.Warn("the database has SyncWrites off: a power failure may undo the last changes, revocations included", "package", "badger")
	}
	return newBackend(db, false, &opts)
}

func checkDatabase(db *badgerdb.DB) error {
	if db == nil {
		return errors.New("badger: New of a nil database")
	}
	if db.IsClosed() {
		return errDatabaseClosed
	}
	o := db.Opts()
	switch {
	case !o.DetectConflicts:
		return errors.New("badger: New of a database without DetectConflicts, on which compare-and-swap rests")
	case o.ReadOnly:
		return errors.New("badger: New of a read-only database")
	case db.MaxBatchSize() < minBatchSize:
		return fmt.Errorf("badger: New of a database whose transactions hold %d bytes, which is less than %d; raise its MemTableSize", db.MaxBatchSize(), minBatchSize)
	}
	// The only sign of managed mode is that transactions of one's own panic.
	_, err := view(db, func(*badgerdb.Txn) (struct{}, error) { return struct{}{}, nil })
	if err != nil {
		return errors.New("badger: New of a database in managed mode")
	}
	return nil
}

func newBackend(db *badgerdb.DB, owned bool, o *Options) (*Backend, error) {
	b := &Backend{
		db:      db,
		owned:   owned,
		id:      storeID{db, o.Namespace},
		keys:    keyspace(o.Namespace),
		space:   spaceOf(db, o.Reserve),
		log:     o.Logger.With("package", "badger"),
		closing: make(chan struct{}),
	}
	b.spends.wake, b.spends.stop = make(chan struct{}, 1), make(chan struct{})
	b.shared = attach(b.id)
	if err := b.shared.load(db, b.keys); err != nil {
		detach(b.id)
		return nil, err
	}
	if b.shared.unfinished.Load() {
		b.log.Warn(ErrUnfinishedRestore.Error())
	}
	return b, nil
}

// Close waits for the calls under way, among them writes whose callers gave up,
// closes the channels of Watch and, after Open, the database.
func (b *Backend) Close() (err error) {
	b.closeOnce.Do(func() {
		close(b.closing)
		b.calls.Lock() // for good: see enter
		close(b.spends.stop)
		b.background.Wait()
		detach(b.id)
		if b.owned {
			defer contain(nil, &err)
			err = b.db.Close()
		}
	})
	return err
}
