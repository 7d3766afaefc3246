package keystore

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors of this package, to be compared with errors.Is. No error text holds
// a token, a secret or a URL.
var (
	// ErrUnauthenticated answers a lookup whose token is malformed, unknown or
	// carries the wrong secret: all three in the same words.
	ErrUnauthenticated = errors.New("invalid API key")

	// These four wrap ErrUnauthenticated, and are given only after the secret
	// matched: a caller who does not hold the key cannot learn its state.
	ErrExpired       = fmt.Errorf("%w: expired", ErrUnauthenticated)
	ErrRevoked       = fmt.Errorf("%w: revoked", ErrUnauthenticated)
	ErrDisabled      = fmt.Errorf("%w: disabled", ErrUnauthenticated)
	ErrOwnerInactive = fmt.Errorf("%w: owner inactive", ErrUnauthenticated)

	// ErrMissingScope: the key is good, but does not cover every required
	// scope; errors.As gives the *ScopeError.
	ErrMissingScope = errors.New("missing scope")

	// ErrRateLimited: the key is good, and a limit of it is spent; errors.As gives
	// the *RateLimitError.
	ErrRateLimited = errors.New("rate limited")

	// ErrInvalid: an argument, option or URL that can never be accepted;
	// errors.As gives the *FieldError where one field is at fault.
	ErrInvalid = errors.New("keystore: invalid")

	// ErrNotFound: no such key, or one of another owner.
	ErrNotFound = errors.New("keystore: no such key")

	// ErrState: the key's state forbids the change.
	ErrState = errors.New("keystore: the key's state forbids this")

	// ErrConflict: others kept changing the key, or it has another revision
	// than the caller asked for. Nothing was changed.
	ErrConflict = errors.New("keystore: the key was changed by another writer")

	// ErrUnavailable wraps every failure of the backend, timeouts and
	// cancelled contexts included: it says nothing about the key.
	ErrUnavailable = errors.New("keystore: store unavailable")

	// ErrUnknownOutcome wraps ErrUnavailable: the change may have happened.
	ErrUnknownOutcome = fmt.Errorf("%w: outcome unknown, the change may have happened", ErrUnavailable)

	// ErrCorrupt: the stored record is damaged, or belongs to another key.
	ErrCorrupt = errors.New("keystore: damaged record")

	// ErrUnknownVersion wraps ErrCorrupt: the record is intact, but was written
	// in a format that this version of the library does not know.
	ErrUnknownVersion = fmt.Errorf("%w: unknown format version", ErrCorrupt)

	// ErrClosed: the Keystore has been closed.
	ErrClosed = errors.New("keystore: closed")

	// ErrPanicked is what an Observer is told of an operation that panics, in the
	// backend or in a function of the program. No method returns it.
	ErrPanicked = errors.New("keystore: panic")
)

// Reason says why a lookup was refused, for logs, metrics and audits. It is more
// exact than what a caller may be told.
type Reason string

// The reasons a *LookupError carries.
const (
	ReasonMalformed     Reason = "malformed"      // not the one spelling of a token
	ReasonUnknownPrefix Reason = "unknown_prefix" // neither Options.Prefix nor in AcceptPrefixes
	ReasonUnknownKey    Reason = "unknown_key"    // no record has this id
	ReasonWrongSecret   Reason = "wrong_secret"   // the id exists, the secret is not its own
	ReasonSuperseded    Reason = "superseded"     // a secret that a rotation has ended
	ReasonExpired       Reason = "expired"
	ReasonRevoked       Reason = "revoked"
	ReasonDisabled      Reason = "disabled"
	ReasonOwnerInactive Reason = "owner_inactive"
	ReasonMissingScope  Reason = "missing_scope"
	ReasonInvalidScope  Reason = "invalid_scope" // the program asked for a malformed scope
	ReasonRateLimited   Reason = "rate_limited"
	ReasonInvalidCost   Reason = "invalid_cost" // the program asked for a cost that the key's limits never allow
	ReasonUnknownPlan   Reason = "unknown_plan" // the key's plan is not configured here
	ReasonUnknownHash   Reason = "unknown_hash" // the digest's scheme or key id is not configured here
	ReasonOwnerCheck    Reason = "owner_check"  // Options.OwnerActive failed
	ReasonUnavailable   Reason = "unavailable"  // the backend failed
	ReasonCorrupt       Reason = "corrupt"
	ReasonClosed        Reason = "closed"
)

// LookupError is the error of every lookup that did not succeed. KeyID is set
// once the token parsed, Owner once its secret matched. Its text is that of the
// error it wraps: a refusal names neither, a failure may name the key's id. Some
// are shared between calls: read only.
type LookupError struct {
	Reason Reason
	KeyID  string
	Owner  string
	err    error
}

func (e *LookupError) Error() string { return e.err.Error() }
func (e *LookupError) Unwrap() error { return e.err }

// ScopeError is an ErrMissingScope that names the required scopes which the key
// does not cover.
type ScopeError struct{ Missing []string }

func (e *ScopeError) Error() string {
	return ErrMissingScope.Error() + ": " + strings.Join(e.Missing, ", ")
}
func (e *ScopeError) Unwrap() error { return ErrMissingScope }

// RateLimitError is an ErrRateLimited that says how the limits of the key stand.
// Nothing was spent of any of them.
type RateLimitError struct {
	Limits     []LimitState  // all of the key's, by name
	Cost       int64         // of the lookup
	RetryAfter time.Duration // until the last of the windows ends that have less than Cost left
}

// Exceeded returns the names of the limits that have less than Cost left.
func (e *RateLimitError) Exceeded() []string {
	var names []string
	for _, state := range e.Limits {
		if state.Remaining < e.Cost {
			names = append(names, state.Name)
		}
	}
	return names
}

// Error names the limits that refuse.
func (e *RateLimitError) Error() string {
	return ErrRateLimited.Error() + ": " + strings.Join(e.Exceeded(), ", ")
}
func (e *RateLimitError) Unwrap() error { return ErrRateLimited }

// FieldError is an ErrInvalid that names the field at fault.
type FieldError struct{ Field, Problem string }

func (e *FieldError) Error() string { return ErrInvalid.Error() + " " + e.Field + ": " + e.Problem }
func (e *FieldError) Unwrap() error { return ErrInvalid }

// KeyError is an error about one key. A listing joins one for each damaged record.
type KeyError struct {
	ID  string
	Err error
}

func (e *KeyError) Error() string { return "key " + e.ID + ": " + e.Err.Error() }
func (e *KeyError) Unwrap() error { return e.Err }

func invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// notFound is the one answer for a key that does not exist and for one that
// belongs to another owner.
func notFound(id string) error { return keyError(id, ErrNotFound) }

// keyError names the key an error is about, as far as the id can be one: what
// a caller passed by mistake, a token perhaps, is not repeated.
func keyError(id string, err error) error {
	if !validID(id) {
		return err
	}
	return &KeyError{ID: id, Err: err}
}

func stateError(id, why string) error {
	return keyError(id, fmt.Errorf("%w: %s", ErrState, why))
}

// foreign is an error of a backend or of the program inside one of ours. It may
// wrap a sentinel of this package, from a keystore behind it perhaps, and must
// not make an outage look like a refusal.
type foreign struct{ err error }

func (f foreign) Error() string { return f.err.Error() }

func (f foreign) Is(target error) bool {
	for _, ours := range []error{ErrUnauthenticated, ErrMissingScope, ErrRateLimited, ErrInvalid, ErrNotFound, ErrState, ErrConflict, ErrCorrupt, ErrClosed} {
		if errors.Is(target, ours) {
			return false
		}
	}
	return errors.Is(f.err, target)
}

func (f foreign) As(target any) bool {
	switch target.(type) {
	case **LookupError, **ScopeError, **RateLimitError, **FieldError, **KeyError:
		return false
	}
	return errors.As(f.err, target)
}
