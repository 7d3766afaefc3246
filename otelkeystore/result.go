package otelkeystore

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// The values of keystore.outcome.
const (
	outcomeOK       = "ok"
	outcomeRefused  = "refused"
	outcomeFailed   = "failed"
	outcomeUnknown  = "unknown"
	outcomeCanceled = "canceled"
)

// result is how an operation ended, in a few words that are all known beforehand.
type result struct{ outcome, reason string }

// isError tells failures of the store or the program from what keys and arguments
// are refused for.
func (r result) isError() bool { return r.outcome == outcomeFailed || r.outcome == outcomeUnknown }

func (r result) attributes() []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 4)
	list = append(list, keyOutcome.String(r.outcome))
	if r.reason != "" {
		list = append(list, keyReason.String(r.reason))
	}
	if r.isError() {
		list = append(list, keyErrorType.String(r.reason))
	}
	return list
}

// resultOf says what an error means. Its text goes nowhere.
func resultOf(err error, store bool) result {
	if err == nil {
		return result{outcome: outcomeOK}
	}
	var refused *keystore.LookupError
	switch {
	case store:
		return firstOf(err, answers, result{outcomeFailed, "unavailable"})
	case errors.As(err, &refused):
		return resultOfLookup(refused)
	}
	// What is none of these is an error of the function that was given to Update:
	// the program has refused its own change.
	return firstOf(err, errorClasses, result{outcomeRefused, "other"})
}

// class is what errors that are err mean.
type class struct {
	err error
	result
}

// firstOf returns the first class that err belongs to.
func firstOf(err error, classes []class, other result) result {
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.result
		}
	}
	return other
}

// errorClasses are those of operations.
var errorClasses = []class{
	{keystore.ErrUnknownOutcome, result{outcomeUnknown, "unknown_outcome"}},
	{context.Canceled, result{outcomeCanceled, "canceled"}},
	{context.DeadlineExceeded, result{outcomeFailed, "timeout"}},
	{keystore.ErrUnavailable, result{outcomeFailed, "unavailable"}},
	{keystore.ErrCorrupt, result{outcomeFailed, "corrupt"}},
	{keystore.ErrClosed, result{outcomeFailed, "closed"}},
	{keystore.ErrPanicked, result{outcomeFailed, "panic"}},
	{keystore.ErrConflict, result{outcomeRefused, "conflict"}},
	{keystore.ErrState, result{outcomeRefused, "state"}},
	{keystore.ErrNotFound, result{outcomeRefused, "not_found"}},
	{keystore.ErrInvalid, result{outcomeRefused, "invalid"}},
}

// answers are the classes of calls of the store.
var answers = []class{
	{backend.ErrNotFound, result{outcomeRefused, "not_found"}},
	{backend.ErrExists, result{outcomeRefused, "exists"}},
	{backend.ErrConflict, result{outcomeRefused, "conflict"}},
	{backend.ErrClosed, result{outcomeFailed, "closed"}},
	{context.Canceled, result{outcomeCanceled, "canceled"}},
	{context.DeadlineExceeded, result{outcomeFailed, "timeout"}},
	{backend.ErrNotApplied, result{outcomeFailed, "not_applied"}},
	{keystore.ErrPanicked, result{outcomeFailed, "panic"}},
}

// reasons of lookups, by whether they are failures.
var reasons = map[keystore.Reason]string{
	keystore.ReasonMalformed:     outcomeRefused,
	keystore.ReasonUnknownPrefix: outcomeRefused,
	keystore.ReasonUnknownKey:    outcomeRefused,
	keystore.ReasonWrongSecret:   outcomeRefused,
	keystore.ReasonSuperseded:    outcomeRefused,
	keystore.ReasonExpired:       outcomeRefused,
	keystore.ReasonRevoked:       outcomeRefused,
	keystore.ReasonDisabled:      outcomeRefused,
	keystore.ReasonOwnerInactive: outcomeRefused,
	keystore.ReasonMissingScope:  outcomeRefused,
	keystore.ReasonRateLimited:   outcomeRefused,
	keystore.ReasonInvalidScope:  outcomeFailed, // a fault of the program
	keystore.ReasonInvalidCost:   outcomeFailed, // likewise
	keystore.ReasonUnknownPlan:   outcomeFailed,
	keystore.ReasonUnknownHash:   outcomeFailed,
	keystore.ReasonOwnerCheck:    outcomeFailed,
	keystore.ReasonUnavailable:   outcomeFailed,
	keystore.ReasonCorrupt:       outcomeFailed,
	keystore.ReasonClosed:        outcomeFailed,
}

func resultOfLookup(err *keystore.LookupError) result {
	outcome, known := reasons[err.Reason]
	switch {
	case !known:
		return result{outcomeFailed, "other"}
	case outcome == outcomeFailed && errors.Is(err, context.Canceled):
		return result{outcomeCanceled, "canceled"}
	}
	return result{outcome, string(err.Reason)}
}
