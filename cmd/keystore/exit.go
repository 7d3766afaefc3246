package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
)

// status is an exit code. docs/cli.md tells their meaning.
type status int

const (
	statusDone            status = 0
	statusFailed          status = 1
	statusUsage           status = 2
	statusUnauthenticated status = 3
	statusMissingScope    status = 4
	statusNotFound        status = 5
	statusConflict        status = 6
	statusState           status = 7
	statusUnavailable     status = 8
	statusUnknownOutcome  status = 9
	statusCorrupt         status = 10
	statusRateLimited     status = 11
	statusInterrupted     status = 130 // as shells report a program that SIGINT ended
)

// String is the code that --json prints.
func (s status) String() string {
	switch s {
	case statusUsage:
		return "usage"
	case statusUnauthenticated:
		return "unauthenticated"
	case statusMissingScope:
		return "missing_scope"
	case statusNotFound:
		return "not_found"
	case statusConflict:
		return "conflict"
	case statusState:
		return "state"
	case statusUnavailable:
		return "unavailable"
	case statusUnknownOutcome:
		return "unknown_outcome"
	case statusCorrupt:
		return "corrupt"
	case statusRateLimited:
		return "rate_limited"
	case statusInterrupted:
		return "interrupted"
	}
	return "failed"
}

// failure is an error that says its own status.
type failure struct {
	status status
	text   string
	cause  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

func usagef(format string, args ...any) error {
	return &failure{status: statusUsage, text: fmt.Sprintf(format, args...)}
}

func failedf(format string, args ...any) error {
	return &failure{status: statusFailed, text: fmt.Sprintf(format, args...)}
}

// fileError is a failure of a file, of which only what it is for is named: its
// path may be anything that was typed in the wrong place.
func fileError(what string, err error) error {
	return &failure{status: statusFailed, text: what + ": " + withoutPath(err).Error(), cause: err}
}

func withoutPath(err error) error {
	var onPath *fs.PathError
	var onLink *os.LinkError
	switch {
	case errors.As(err, &onPath):
		return onPath.Err
	case errors.As(err, &onLink):
		return onLink.Err
	}
	return err
}

// finish reports the error of a run and returns its exit code.
func (a *app) finish(ctx context.Context, err error) status {
	s := a.statusOf(ctx, err)
	if s != statusDone {
		a.report(s, err)
	}
	return s
}

// statusOf is the exit code that an error stands for. Where several errors are
// joined, the one that the caller must know first decides.
func (a *app) statusOf(ctx context.Context, err error) status {
	var own *failure
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return statusDone
	case is(keystore.ErrUnknownOutcome):
		return statusUnknownOutcome
	case ctx.Err() != nil && is(context.Canceled):
		return statusInterrupted
	case errors.As(err, &own):
		return own.status
	case !a.began: // cobra's, which checks that required flags are given
		return statusUsage
	case is(keystore.ErrUnavailable):
		return statusUnavailable
	case is(keystore.ErrCorrupt):
		return statusCorrupt
	case is(keystore.ErrConflict):
		return statusConflict
	case is(keystore.ErrState):
		return statusState
	case is(keystore.ErrNotFound):
		return statusNotFound
	case is(keystore.ErrInvalid):
		return statusUsage
	case is(keystore.ErrMissingScope):
		return statusMissingScope
	case is(keystore.ErrRateLimited):
		return statusRateLimited
	case is(keystore.ErrUnauthenticated):
		return statusUnauthenticated
	}
	return statusFailed
}

// report writes an error to standard error. When that fails too there is nobody
// left to tell.
func (a *app) report(s status, err error) {
	text := errorText(err)
	var refused *keystore.LookupError
	known := errors.As(err, &refused)
	var spent *keystore.RateLimitError
	limited := errors.As(err, &spent)
	if a.global.json {
		line := errorView{Error: text, Code: s.String(), Exit: int(s)}
		if known {
			line.Reason, line.KeyID, line.Owner = string(refused.Reason), refused.KeyID, refused.Owner
		}
		if limited {
			line.RetryAfter, line.Limits = wholeSeconds(spent.RetryAfter), keyview.States(spent.Limits)
		}
		_, _ = a.err.Write(jsonLine(line))
		return
	}
	if limited {
		text += fmt.Sprintf("; try again in %v", time.Duration(wholeSeconds(spent.RetryAfter))*time.Second)
	}
	if known {
		text += " (reason: " + string(refused.Reason)
		if refused.KeyID != "" {
			text += ", key: " + refused.KeyID
		}
		if refused.Owner != "" {
			text += ", owner: " + shown(refused.Owner)
		}
		text += ")"
	}
	fmt.Fprintf(a.err, "keystore: %s\n", text)
}

// errorView is a failure as --json prints it.
type errorView struct {
	Error  string `json:"error"`
	Code   string `json:"code"`
	Exit   int    `json:"exit"`
	Reason string `json:"reason,omitempty"`
	KeyID  string `json:"key_id,omitempty"`
	Owner  string `json:"owner,omitempty"`

	RetryAfter int64                `json:"retry_after_seconds,omitempty"` // seconds
	Limits     []keyview.LimitState `json:"limits,omitempty"`
}

// errorText is the text of an error on one line, in the words of the tool: without
// the name of the package, which is that of the tool, in its middle.
func errorText(err error) string {
	text := strings.ReplaceAll(err.Error(), "keystore: ", "")
	text = strings.ReplaceAll(text, "Options.Plans", "the file of --plans")
	return escaped(strings.ReplaceAll(text, "\n", "; "))
}
