package badger

import (
	"fmt"
	"os"
	"strings"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/badger/internal/inspect"
)

// inspectFolder looks for what Badger would drop in silence as it opens dir, before
// it does. What is certainly lost is ErrDamaged, what may be is a warning.
func inspectFolder(dir string, o *Options) error {
	free, err := tryLock(dir)
	if err != nil {
		return nil // in use, or not lockable: Badger will say so
	}
	defer free()
	keys, err := dataKeys(dir, o.EncryptionKey)
	if err != nil {
		return err
	}
	found, err := inspect.Folder(dir, inspect.Options{Synced: !o.NoSync, LogSize: 2 * memTableSize, Keys: keys})
	if err != nil {
		return fmt.Errorf("badger: %w", err)
	}
	log := o.Logger.With("package", "badger")
	for _, text := range found.Warnings {
		log.Warn(text)
	}
	if damage := append(found.Damage, found.Tables...); len(damage) > 0 {
		what := strings.Join(damage, "; ")
		if !o.AcceptDamage || len(found.Tables) > 0 {
			return fmt.Errorf("%w: %s", ErrDamaged, what)
		}
		log.Error("opened with damage, as Options.AcceptDamage says: " + what)
	}
	for _, path := range found.Empty {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("badger: %w", err)
		}
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
