// Package backend is the contract between keystore and the stores it can keep
// API keys in. A driver (package memory, package badger, or one of your own)
// implements [Backend], and [Watcher] if it can; package conformance tests it.
//
// A driver interprets every field of a [Record] except Data. What a key means
// (its secret digests, scopes, expiry, revocation) is inside Data and is judged
// by keystore alone, with keystore's own clock: a driver sets no native TTL
// anywhere, and only [Backend.Purge] and [Backend.Delete] forget a record.
//
// # Errors
//
// A driver returns the sentinels of this package, wrapped or bare, exactly when
// the contract says so, and for nothing else. Every other error means that the
// store could not answer: keystore reports it as unavailable, and treats the
// outcome of a write as unknown unless the error is [ErrNotApplied]. An outcome
// that stays unknown is never one of the other sentinels.
//
// # Times
//
// Times are UTC, whole milliseconds from the year 1970 on, and are kept exactly.
// The zero [time.Time] is a value of its own, distinct from 1970-01-01.
//
// # Repeats
//
// Client libraries resend a request whose reply was lost. So that this is
// harmless, a repeat of the write that the store already holds succeeds:
// Create of a record that is stored at Revision 1 with the same Owner, Data and
// PurgeAt returns nil, and so does Update where the stored Revision is
// r.Revision+1 with the same Data and PurgeAt. Two callers that write the same
// bytes onto the same revision are therefore both told that they succeeded;
// keystore puts a random write id into Data, so that equal bytes mean the same
// write. A repeat that another writer has overtaken may be ErrConflict.
package backend

import (
	"context"
	"errors"
	"time"
)

// Limits of the contract, in bytes and, for ListOptions.Limit, records. keystore
// keeps to them; what a driver does beyond them is up to it.
const (
	MaxIDLen    = 64       // of Record.ID
	MaxOwnerLen = 256      // of Record.Owner, which is not empty
	MaxDataLen  = 64 << 10 // of Record.Data
	MaxLimit    = 1000     // of ListOptions.Limit
)

// Record is one stored key. A driver interprets every field except Data.
type Record struct {
	ID       string    // primary key, [0-9A-Za-z_-]{1,64}
	Owner    string    // compared byte for byte; fixed at Create; valid UTF-8 without NUL, which a driver need not check
	Data     []byte    // opaque, at most 64 KiB, returned byte for byte
	PurgeAt  time.Time // zero: never; else Purge may delete the record from then on
	LastUsed time.Time // zero: never; written by Touch only
	Revision uint64    // 1 after Create, one more per Update; Touch leaves it alone
}

// ListOptions says which page of records List returns.
type ListOptions struct {
	Owner string // only this owner's records; "": all records
	After string // only IDs greater than this one in byte order; it need not exist
	Limit int    // at most this many, 1..1000
}

// Backend is a store of records. It is safe for concurrent use and linearizable
// per ID. It neither keeps nor modifies memory that it is given, and what it
// returns belongs to the caller.
//
// A context that is already cancelled is noticed before any effect, and the
// error is then context.Canceled or context.DeadlineExceeded by errors.Is.
// keystore sets a deadline on every call; a driver obeys it.
//
// After Close every method but Close returns ErrClosed. A call that Close
// overtakes returns what it found or did, or ErrClosed if it had no effect (Touch
// and Purge: none beyond their chunks so far).
//
// These rules hold for Watch too.
type Backend interface {
	// Create stores r at Revision 1 with a zero LastUsed, whatever r says of
	// these. It returns ErrExists if the ID is taken; see Repeats above.
	Create(ctx context.Context, r Record) error

	// Get returns the record, or ErrNotFound. A record past its PurgeAt is
	// still returned until Purge has deleted it.
	Get(ctx context.Context, id string) (Record, error)

	// Update replaces Data and PurgeAt if the stored Revision is r.Revision,
	// and adds one to the revision. It ignores r.Owner and r.LastUsed. It
	// returns ErrNotFound or ErrConflict, with ErrNotApplied beside if it knows
	// that no earlier attempt at this write took effect; see Repeats above.
	Update(ctx context.Context, r Record) error

	// Delete removes the record. It returns nil also if there is none.
	Delete(ctx context.Context, id string) error

	// List returns at most o.Limit records in byte order of their IDs. A page
	// may be short: only an empty page is the end. A record that is present
	// throughout a walk from page to page appears in it exactly once.
	List(ctx context.Context, o ListOptions) ([]Record, error)

	// Touch raises LastUsed of each ID in used, and never lowers it. It skips
	// unknown IDs, creates nothing and leaves the revision alone. It may work
	// in chunks: after an error some took effect, and repeating is safe.
	Touch(ctx context.Context, used map[string]time.Time) error

	// Purge deletes at most limit records whose PurgeAt is set and not after
	// now, and returns how many. The condition is checked atomically with each
	// deletion: a record whose PurgeAt moves past now at the same time either
	// goes before the move or stays. It may work in chunks, like Touch; fewer
	// than limit does not mean that none is left, none deleted does.
	Purge(ctx context.Context, now time.Time, limit int) (int, error)

	// Close releases what the backend opened itself. A second Close returns nil.
	Close() error
}

// Watcher is implemented by a Backend that can tell of changes. It is optional.
type Watcher interface {
	// Watch subscribes to changes; it is subscribed when it returns. Every
	// Create, Update, Delete and purge made through any handle of the store
	// sends the ID at least once, after a new Get shows the change. Touch sends
	// nothing. "" means that some may have been missed. A slow reader never
	// blocks a writer. The channel closes when ctx ends, when the backend is
	// closed or when the subscription is lost.
	Watch(ctx context.Context) (<-chan string, error)
}

// The sentinels of the contract, to be compared with errors.Is.
var (
	ErrNotFound = errors.New("backend: no such record")
	ErrExists   = errors.New("backend: a record with this id exists")
	ErrConflict = errors.New("backend: the record has another revision")
	ErrClosed   = errors.New("backend: closed")

	// ErrNotApplied marks a failure that certainly had no effect, such as a
	// refusal for want of disk space. A driver wraps it only when it knows:
	// without it keystore takes the outcome of a failed write as unknown.
	// Beside ErrConflict it says that the conflict is not with a first attempt
	// at the same write, of a client library that repeats what got no reply.
	// That saves keystore the look whether it is. Beside the ErrNotFound of
	// Update it says that there was no such attempt before a deletion; without
	// it the outcome is unknown.
	ErrNotApplied = errors.New("backend: not applied")

	// ErrInvalidURL marks a URL that no driver can open as it is written, as
	// opposed to a store that cannot be reached.
	ErrInvalidURL = errors.New("backend: invalid URL")
)
