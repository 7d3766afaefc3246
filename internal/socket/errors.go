package socket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// ErrNoServer means that nobody serves at the path: there is no socket, or one that
// a process which was killed has left.
var ErrNoServer = errors.New("socket: no server is there")

// ErrInUse means that a server listens at the path already.
var ErrInUse = errors.New("socket: another server listens there already")

// codes are the errors that keep their meaning on the way, beside their text.
// backend.ErrClosed is not among them: it would say that the client was closed.
var codes = []struct {
	name string
	err  error
}{
	{"not_found", backend.ErrNotFound},
	{"exists", backend.ErrExists},
	{"conflict", backend.ErrConflict},
	{"not_applied", backend.ErrNotApplied},
	{"damaged_tally", backend.ErrDamagedTally},
	{"no_space", badger.ErrNoSpace},
	{"damaged", badger.ErrDamaged},
	{"unfinished_restore", badger.ErrUnfinishedRestore},
}

// failure is an error of the store on its way to the client.
type failure struct {
	_    struct{} `cbor:",toarray"`
	Text string
	Is   []string // names of codes
}

// failureOf describes err, which may be nil. A store that the server has closed is
// unavailable to the client; whole says that the call had no effect then.
func failureOf(err error, whole bool) *failure {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backend.ErrClosed) && whole:
		return &failure{Text: "socket: the server is ending", Is: []string{"not_applied"}}
	case errors.Is(err, backend.ErrClosed):
		return &failure{Text: "socket: the server is ending"}
	}
	f := &failure{Text: err.Error()}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			f.Is = append(f.Is, c.name)
		}
	}
	return f
}

// err is the failure as the client reports it.
func (f *failure) err() error {
	if f == nil {
		return nil
	}
	e := &storeError{text: f.Text}
	for _, c := range codes {
		if slices.Contains(f.Is, c.name) {
			e.is = append(e.is, c.err)
		}
	}
	return e
}

// storeError is an error of the store behind the server. It is just what the
// server found it to be: an ErrNoSpace amid a Purge is no ErrNotApplied.
type storeError struct {
	text string
	is   []error
}

func (e *storeError) Error() string        { return e.text }
func (e *storeError) Is(target error) bool { return slices.Contains(e.is, target) }

// notApplied marks err as one that certainly had no effect. Its text stays.
type notApplied struct{ error }

func (n notApplied) Unwrap() error        { return n.error }
func (n notApplied) Is(target error) bool { return target == backend.ErrNotApplied }

// partial is an error after a part of the work took effect. It is all that err is
// but backend.ErrNotApplied.
type partial struct{ err error }

func (p partial) Error() string { return p.err.Error() }
func (p partial) Is(target error) bool {
	return target != backend.ErrNotApplied && errors.Is(p.err, target)
}

func contextError(ctx context.Context) error {
	return fmt.Errorf("socket: the context has ended: %w", ctx.Err())
}

// withoutPath is the cause of a failure of the operating system, without the path,
// which is part of a URL.
func withoutPath(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}
