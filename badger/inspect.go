package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/badger/internal/inspect"
)

// inspectFolder looks for what Badger would drop in silence as it opens dir, before
// it does. What is certainly lost is ErrDamaged, what may be is a warning.
func inspectFolder(dir string, o *Options) error {
	free, err := tryLock(dir)
	var locked *LockedError
	if errors.As(err, &locked) {
		return locked
	}
	if err != nil {
		return fmt.Errorf("badger: %w", err) // Badger cannot lock it either
	}
	defer free()
	keys, err := dataKeys(dir, o.EncryptionKey)
	if err != nil {
		return err
	}
	unsynced, err := wasUnsynced(dir)
	if err != nil {
		return err
	}
	found, err := inspect.Folder(dir, inspect.Options{Synced: !unsynced, LogSize: 2 * memTableSize, Keys: keys})
	if err != nil {
		return fmt.Errorf("badger: %w", err)
	}
	log := o.Logger.With("package", "badger")
	for _, text := range found.Warnings {
		log.Warn(text)
	}
	if len(found.Tables) > 0 {
		return fmt.Errorf("%w: %s", ErrDamagedTable, strings.Join(append(found.Tables, found.Damage...), "; "))
	}
	if len(found.Damage) > 0 {
		what := strings.Join(found.Damage, "; ")
		if !o.AcceptDamage {
			return fmt.Errorf("%w: %s", ErrDamaged, what)
		}
		log.Error("opened with damage, as Options.AcceptDamage says: " + what)
	}
	for _, path := range found.Empty {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("badger: %w", err)
		}
	}
	if o.NoSync {
		return markUnsynced(dir, true) // before anything is written
	}
	return nil
}

// dataKeys returns the keys with which the files of dir are encrypted, by their
// ids. Badger numbers them from 1 on (key_registry.go).
func dataKeys(dir string, encryptionKey []byte) (map[uint64][]byte, error) {
	registry, err := badgerdb.OpenKeyRegistry(badgerdb.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: encryptionKey})
	if err != nil {
		return nil, fmt.Errorf("badger: %w", err)
	}
	keys := make(map[uint64][]byte)
	for id := uint64(1); ; id++ {
		key, err := registry.DataKey(id)
		if err != nil { // there is none
			return keys, nil
		}
		keys[id] = key.Data
	}
}

// unsyncedMark is a file that is in the folder while changes are acknowledged
// before they are synced. After a power failure such a store may have holes that
// are no damage, also for who opens it with syncing.
const unsyncedMark = "UNSYNCED"

func wasUnsynced(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, unsyncedMark))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("badger: %w", err)
	}
	return true, nil
}

// markUnsynced sets the mark before the database is opened, or takes it away when
// all that the last process left has been read or the database was closed.
func markUnsynced(dir string, unsynced bool) error {
	path := filepath.Join(dir, unsyncedMark)
	var err error
	if unsynced {
		err = os.WriteFile(path, nil, 0o600)
	} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("badger: %w", err)
	}
	return nil
}
