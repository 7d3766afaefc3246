package mongo

import (
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"example.com/keystore/backend"
)

// These are certain: of a write, only attempts that had no effect are repeated.
var (
	errConflict = fmt.Errorf("%w: %w", backend.ErrConflict, backend.ErrNotApplied)
	errGone     = fmt.Errorf("%w: %w", backend.ErrNotFound, backend.ErrNotApplied)
)

// refusal is an error that had no effect. Its text is that of the error.
type refusal struct{ error }

func (r refusal) Unwrap() error        { return r.error }
func (r refusal) Is(target error) bool { return target == backend.ErrNotApplied }

// refused marks err as one that certainly had no effect.
func refused(err error) error { return refusal{err} }

// partial is an error after a part of the work took effect. It is all that err
// is but backend.ErrNotApplied.
type partial struct{ err error }

func (p partial) Error() string { return p.err.Error() }
func (p partial) Is(target error) bool {
	return target != backend.ErrNotApplied && errors.Is(p.err, target)
}
func (p partial) As(target any) bool { return errors.As(p.err, target) }

func contextError(err error) error { return fmt.Errorf("mongo: the context has ended: %w", err) }

// Codes of the server, by https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
const (
	codeBadValue           = 2
	codeUnauthorized       = 13
	codeTypeMismatch       = 14
	codeAuthentication     = 18
	codeNamespaceNotFound  = 26
	codeValidation         = 121
	codeNotAReplicaSet     = 123
	codeNotWritablePrimary = 10107
	codeDuplicateKey       = 11000
)

// writeFailed describes the failure of a command that writes, with
// backend.ErrNotApplied if it certainly had no effect. What is not known here is
// taken for one that may have had.
func writeFailed(err error) error {
	described := fmt.Errorf("mongo: %w", err)
	if notSent(err) || refusedByServer(err) {
		return refused(described)
	}
	return described
}

// notSent reports whether a command failed before a byte of it was sent: for want
// of a server, of a connection or of time.
func notSent(err error) bool {
	if underWay(err) {
		return false
	}
	var (
		selection topology.ServerSelectionError
		queue     topology.WaitQueueTimeoutError
		pool      topology.PoolError
		cleared   driver.RetryablePoolError
	)
	switch {
	case errors.As(err, &selection), errors.As(err, &queue), errors.As(err, &pool), errors.As(err, &cleared):
		return true
	case errors.Is(err, mongo.ErrClientDisconnected), errors.Is(err, topology.ErrServerClosed), errors.Is(err, driver.ErrDeadlineWouldBeExceeded):
		return true
	}
	return notConnected(err)
}

// underWay reports whether a connection broke that a command was given to.
// Whatever error is inside, of a dialer of the program's for instance, then says
// nothing of the command.
func underWay(err error) bool {
	var command mongo.CommandError
	if !errors.As(err, &command) {
		return false
	}
	broken, ok := command.Wrapped.(driver.Error) //nolint:errorlint // it is the outermost that tells
	return ok && broken.HasErrorLabel(driver.NetworkError) && !broken.HasErrorLabel(driver.ErrSystemOverloadedError)
}

// notConnected reports whether a new connection could not be made. The library
// has the same type for this and for a connection that broke: around a
// ConnectionError, the latter has a driver.Error, the former none, or one that
// says besides that the server may be overloaded.
func notConnected(err error) bool {
	var command mongo.CommandError
	if errors.As(err, &command) {
		err = command.Wrapped
	}
	switch outer := err.(type) { //nolint:errorlint // it is the outermost that tells
	case topology.ConnectionError:
		return true
	case driver.Error:
		var inner topology.ConnectionError
		return outer.Code == 0 && outer.HasErrorLabel(driver.NetworkError) && outer.HasErrorLabel(driver.ErrSystemOverloadedError) && errors.As(outer.Wrapped, &inner)
	}
	return false
}

// refusedByServer reports whether the server said that it would not execute the
// command. A primary that steps down while it executes one says something else.
func refusedByServer(err error) bool {
	switch code(err) {
	case codeUnauthorized, codeValidation, codeNotWritablePrimary:
		return true
	}
	return false
}

// passing reports whether a command had no effect for a reason that may have
// passed: another server is primary now, or the connections were closed.
func passing(err error) bool {
	var cleared driver.RetryablePoolError
	return errors.Is(err, backend.ErrNotApplied) && (code(err) == codeNotWritablePrimary || errors.As(err, &cleared))
}

// code is the server's reason for a command that failed altogether, or for the
// only write in it that did. It is 0 if there is another failure beside: a write
// that a majority has not confirmed has taken effect.
func code(err error) int {
	var command mongo.CommandError
	if errors.As(err, &command) {
		return int(command.Code)
	}
	var write mongo.WriteException
	if errors.As(err, &write) && write.WriteConcernError == nil && len(write.WriteErrors) == 1 {
		return write.WriteErrors[0].Code
	}
	return 0
}

// onlyDuplicates reports whether statements failed for nothing but duplicate keys.
func onlyDuplicates(err error) bool { return failedOnlyBy(err, codeDuplicateKey) }

func failedOnlyBy(err error, codes ...int) bool {
	var write mongo.WriteException
	return errors.As(err, &write) && write.WriteConcernError == nil && len(write.WriteErrors) > 0 &&
		!slices.ContainsFunc(write.WriteErrors, func(e mongo.WriteError) bool { return !slices.Contains(codes, e.Code) })
}

// onlyDamage reports whether statements failed for nothing but fields that cannot
// be added to: they have another type, or the sum is more than 64 bits hold.
func onlyDamage(err error) bool {
	return failedOnlyBy(err, codeTypeMismatch, codeBadValue)
}

// hasCode reports whether err is a failure that the server gave one of the codes.
func hasCode(err error, codes ...int) bool { return slices.Contains(codes, code(err)) }
