package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"example.com/keystore/backend"
)

// These are certain: no earlier attempt of the driver may have been executed.
var (
	errConflict = fmt.Errorf("%w: %w", backend.ErrConflict, backend.ErrNotApplied)
	errGone     = fmt.Errorf("%w: %w", backend.ErrNotFound, backend.ErrNotApplied)
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

// ended returns why ctx has ended. The deadline of a connection may pass a moment
// before the context knows of its own.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && time.Until(deadline) <= 0 {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func contextError(ctx context.Context) error {
	return fmt.Errorf("redis: the context has ended: %w", ended(ctx))
}

// endedDuring is the error of a write whose caller did not wait for the reply.
func endedDuring(ctx context.Context) error {
	return fmt.Errorf("redis: the context ended during the write, which may yet take effect: %w", ended(ctx))
}

// unknownOutcome is the error of a write that may have been executed: err is what
// came instead of its reply.
func unknownOutcome(err error) error {
	return fmt.Errorf("redis: it is not known whether the write took effect: %w", err)
}

// withEnd adds to err why ctx has ended, if it has.
func withEnd(ctx context.Context, err error) error {
	if end := ended(ctx); end != nil && !errors.Is(err, end) {
		return fmt.Errorf("%w: %w", err, end)
	}
	return err
}

// ErrAuth means that a server refused the user, or the password, or wants one.
var ErrAuth = errors.New("redis: the server refused the user or the password")

func failed(err error) error {
	if hasCode(err, "WRONGPASS", "NOAUTH") {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return fmt.Errorf("redis: %w", err)
}

// code returns the first word of an error that the server replied, such as LOADING,
// and "" of any other error. Where versions differ it is the word of the latest.
func code(err error) string {
	var reply goredis.Error
	if err == nil || errors.Is(err, goredis.Nil) || !errors.As(err, &reply) {
		return ""
	}
	text := reply.Error()
	// Before 7.0: "ERR Error running script (call to f_…): @user_script:3: -OOM …".
	if _, inside, found := strings.Cut(text, fromScript); found && strings.HasPrefix(text, "ERR ") {
		if _, inside, found := strings.Cut(inside, ": -"); found {
			text = inside
		}
	}
	switch first, _, _ := strings.Cut(text, " "); {
	case strings.HasPrefix(text, "ERR max number of clients"):
		return "MAXCLIENTS"
	case strings.HasPrefix(text, "ERR Protocol error: unauthenticated"): // NOAUTH of a command of many arguments
		return "NOAUTH"
	case strings.HasPrefix(text, "ERR The user executing the script"): // before 7.2
		return "NOPERM"
	default:
		return first
	}
}

// fromScript is in the errors that a command in a script ended it with.
const fromScript = "@user_script:"

func hasCode(err error, codes ...string) bool {
	c := code(err)
	return c != "" && slices.Contains(codes, c)
}

// What servers reply instead of executing a command.
var (
	passing = []string{ // it may work in a moment
		"LOADING",                                 // the server reads its data
		"READONLY",                                // it is a replica, perhaps one that was the master
		"MASTERDOWN",                              // it is a replica that lost its master
		"CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", // the cluster is being changed
		"BUSY",       // another script runs for long
		"NOREPLICAS", // min-replicas-to-write
		"MAXCLIENTS",
		"NOSCRIPT", // forgotten between two tries
	}
	lasting = []string{
		"OOM",     // maxmemory is reached
		"MISCONF", // the last snapshot or log write failed
		"NOAUTH", "WRONGPASS", "NOPERM", "DENIED",
		"WRONGTYPE", "CROSSSLOT",
	}
)

// unsent reports whether a command certainly never left this process.
func unsent(err error) bool {
	var dial *net.OpError
	return errors.Is(err, errNotSent) || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrPoolExhausted) || errors.Is(err, goredis.ErrClosed) ||
		errors.As(err, &dial) && dial.Op == "dial"
}

// certain reports whether a script that writes one record, and ended with err,
// certainly has not written it: it was not run, or it ended at a command that
// failed, of which the one that writes the record is the last that may. Of anything else
// the outcome is unknown: no reply, and errors that are not known here, which may
// be those of a proxy between.
func certain(err error) bool {
	return unsent(err) || hasCode(err, passing...) || hasCode(err, lasting...) ||
		code(err) != "" && strings.Contains(err.Error(), fromScript)
}

// worthRetrying reports whether what certainly had no effect may have one soon.
func worthRetrying(err error) bool {
	return hasCode(err, passing...) || unsent(err) && !errors.Is(err, goredis.ErrClosed)
}
