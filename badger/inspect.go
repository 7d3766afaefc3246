package badger

import (
	"fmt"
	"strings"

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
	found, err := inspect.Folder(dir, inspect.Options{
		Synced: !o.NoSync, Encrypted: len(o.EncryptionKey) > 0, LogSize: 2 * memTableSize,
	})
	if err != nil {
		return fmt.Errorf("badger: %w", err)
	}
	log := o.Logger.With("package", "badger")
	for _, text := range found.Warnings {
		log.Warn(text)
	}
	if len(found.Damage) == 0 {
		return nil
	}
	what := strings.Join(found.Damage, "; ")
	if o.AcceptDamage {
		log.Error("opened with damage, as Options.AcceptDamage says: " + what)
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDamaged, what)
}
