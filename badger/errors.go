package badger

import (
	"errors"
	"fmt"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

var (
	// ErrNoSpace means that a write was refused because less than the reserve
	// of disk space is free; see Options.Reserve. Nothing was written.
	ErrNoSpace = fmt.Errorf("badger: too little free disk space to write safely: %w", backend.ErrNotApplied)

	// ErrNoStore means that the folder holds no store, or is not there; see
	// Options.NoCreate.
	ErrNoStore = errors.New("badger: the folder holds no store")

	// ErrDamaged means, of Open, that files of the store are damaged such that
	// changes which were acknowledged, revocations perhaps, would be dropped:
	// restore a backup into another folder, or see Options.AcceptDamage. Of
	// Backup, that a record is damaged, or what is spent of the limits of a key:
	// delete the one, reset the other first.
	ErrDamaged = errors.New("badger: the store is damaged")

	// ErrDamagedTable is an ErrDamaged that Options.AcceptDamage does not help
	// against.
	ErrDamagedTable = fmt.Errorf("%w: a table cannot be read", ErrDamaged)

	// ErrUnfinishedRestore means that the store holds a part of a backup, since
	// a Restore failed or its process ended. Every method but Restore and Close
	// returns it until Restore has succeeded.
	ErrUnfinishedRestore = errors.New("badger: the store holds an unfinished restore; run Restore again")

	// ErrBadBackup means that what was to be restored is not a whole, unaltered
	// backup.
	ErrBadBackup = errors.New("badger: not a whole, unaltered backup")

	// ErrNotEmpty means that a Restore was refused because there is a store
	// already.
	ErrNotEmpty = errors.New("badger: Restore needs an empty store, and this one is not")

	// These are certain: what is repeated here are transactions without effect.
	errConflict = fmt.Errorf("%w: %w", backend.ErrConflict, backend.ErrNotApplied)
	errGone     = fmt.Errorf("%w: %w", backend.ErrNotFound, backend.ErrNotApplied)

	errDatabaseClosed = errors.New("badger: the database was closed by its owner before the backend was")
)

// refusal is an error that had no effect. Its text is that of the error.
type refusal struct{ error }

func (r refusal) Unwrap() error        { return r.error }
func (r refusal) Is(target error) bool { return target == backend.ErrNotApplied }

// refused marks err as one that certainly had no effect. The answers of the
// contract stay as they are.
func refused(err error) error {
	for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed, backend.ErrNotApplied} {
		if errors.Is(err, answer) {
			return err
		}
	}
	return refusal{err}
}

// partial is an error after a part of the work took effect. It is all that err
// is but backend.ErrNotApplied.
type partial struct{ err error }

func (p partial) Error() string { return p.err.Error() }
func (p partial) Is(target error) bool {
	return target != backend.ErrNotApplied && errors.Is(p.err, target)
}
func (p partial) As(target any) bool { return errors.As(p.err, target) }

// describe gives an error of Badger's a text of ours.
func describe(err error) error {
	switch {
	case errors.Is(err, badgerdb.ErrDBClosed):
		return errDatabaseClosed
	case errors.Is(err, badgerdb.ErrConflict):
		return fmt.Errorf("badger: other writers of the database were faster too often: %w", err)
	case errors.Is(err, badgerdb.ErrTxnTooBig), errors.Is(err, badgerdb.ErrBlockedWrites):
		return fmt.Errorf("badger: %w", err)
	}
	return err
}

// contain turns a panic into an error. Badger panics, among other reasons, when
// a database is closed while it is in use.
func contain(db *badgerdb.DB, err *error) {
	p := recover()
	switch {
	case p == nil:
	case db != nil && db.IsClosed():
		*err = errDatabaseClosed
	default:
		*err = fmt.Errorf("badger: panic: %v", p)
	}
}
