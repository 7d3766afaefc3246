package keystore

import (
	"context"
	"time"
)

// Auditor receives the events of a Keystore: of what is done through it, in this
// process. Package audit has a file of JSON lines and a slog writer.
//
// Each Keystore calls Audit from one goroutine, off the path of lookups, with 1 to
// 256 events. Changes come in the order in which they were recorded, sums of failed
// lookups after what happened meanwhile. Audit neither keeps nor changes the slice.
// ctx ends after OpTimeout (2 s where that is Never), and Audit must return then. After an
// error or a panic the same events come again, after a pause of 50 ms that doubles
// up to 5 s; so it should take all of them or none, and return nil for what it will
// never be able to take. docs/audit.md says what may be lost.
type Auditor interface {
	Audit(ctx context.Context, events []Event) error
}

// Action is what an Event tells of.
type Action string

// The actions of events.
const (
	ActionGenerate    Action = "generate"
	ActionUpdate      Action = "update" // also Expire and ClearExpiry
	ActionDisable     Action = "disable"
	ActionEnable      Action = "enable"
	ActionRotate      Action = "rotate"
	ActionEndGrace    Action = "end_grace"
	ActionRevoke      Action = "revoke"
	ActionResetLimits Action = "reset_limits"
	ActionDelete      Action = "delete"
	ActionPurge       Action = "purge"
	ActionLookup      Action = "lookup" // that failed
)

// Outcome is how what an Event tells of ended.
type Outcome string

// The outcomes of events.
const (
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // by the arguments, the key's state or the lookup
	OutcomeFailed  Outcome = "failed"  // nothing was changed, for the store or the program failed
	OutcomeUnknown Outcome = "unknown" // ErrUnknownOutcome, or a panic: the change may have happened
)

// Event is what Options.Audit receives: one change, or failed lookups of one kind
// within 10 s. It never holds a token or a secret: in its texts, what looks like a
// token is replaced by "[redacted]". Each is at most 256 bytes of valid UTF-8, and
// may hold control characters.
type Event struct {
	Time       time.Time `json:"time"` // when it had ended, in milliseconds, UTC; of failed lookups, the first
	Action     Action    `json:"action"`
	Outcome    Outcome   `json:"outcome"`
	KeyID      string    `json:"key_id,omitempty"`     // where it is known, and not several
	Owner      string    `json:"owner,omitempty"`      // where it is known: of a lookup, once the secret matched
	Actor      string    `json:"actor,omitempty"`      // WithActor: who asked for it
	RequestID  string    `json:"request_id,omitempty"` // WithRequestID; of failed lookups, of the first
	Reason     Reason    `json:"reason,omitempty"`     // of failed lookups
	Generation int       `json:"generation,omitempty"` // of the key after the change
	Revision   uint64    `json:"revision,omitempty"`   // of the key after the change
	Count      int       `json:"count"`                // keys purged, or lookups that failed; else 1
	Detail     string    `json:"detail,omitempty"`     // the fields that were changed, the reason of a revocation, or the text of the error
}

type actorKey struct{}

type requestIDKey struct{}

// WithActor says who asks for what is done with the context, for the audit: a
// user, or the id of a key. In events, what looks like a token is replaced.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// WithRequestID names the request for which something is done, for the audit. In
// events, what looks like a token is replaced.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// ActorFrom returns what WithActor said, "" if nothing did.
func ActorFrom(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}

// RequestIDFrom returns what WithRequestID said, "" if nothing did.
func RequestIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
