package mongowire

import (
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Reply is an answer to a command: a document, or the end of the connection
// without one. See [Handler] for the zero value.
type Reply struct {
	doc     bson.Raw
	hangUp  bool
	delay   time.Duration
	release <-chan struct{}
	missing string // what is not implemented
}

func (r Reply) isZero() bool { return r.doc == nil && !r.hangUp }

// OK is a document with "ok: 1" at its end.
func OK(fields ...bson.E) Reply {
	return Reply{doc: marshal(append(slices.Clone(fields), bson.E{Key: "ok", Value: 1.0}))}
}

// Found is a complete answer to a find. A document is anything that bson can
// marshal.
func Found(namespace string, docs ...any) Reply {
	return OK(bson.E{Key: "cursor", Value: bson.D{
		{Key: "firstBatch", Value: bson.A(docs)},
		{Key: "id", Value: int64(0)},
		{Key: "ns", Value: namespace},
	}})
}

// Error is the failure of a command. The labels are those of the server:
// drivers repeat a write only if one is RetryableWriteError.
func Error(code int32, message string, labels ...string) Reply {
	doc := bson.D{
		{Key: "ok", Value: 0.0},
		{Key: "errmsg", Value: message},
		{Key: "code", Value: code},
		{Key: "codeName", Value: codeName(code)},
	}
	return Reply{doc: marshal(withLabels(doc, labels))}
}

func withLabels(doc bson.D, labels []string) bson.D {
	if len(labels) == 0 {
		return doc
	}
	return append(doc, bson.E{Key: "errorLabels", Value: labels})
}

// RetryableWrite is the label by which a server asks a driver to repeat a write.
const RetryableWrite = "RetryableWriteError"

// NotPrimary is the answer of a member of a replica set that is not, or no longer,
// its primary. To a command that the driver may repeat it says so.
func NotPrimary(cmd Command) Reply {
	var labels []string
	if _, has := cmd.TxnNumber(); has {
		labels = []string{RetryableWrite}
	}
	return Error(10107, "not primary", labels...)
}

// WriteError is the failure of the first statement of a writing command.
func WriteError(code int32, message string) Reply {
	return OK(
		bson.E{Key: "n", Value: int32(0)},
		bson.E{Key: "writeErrors", Value: bson.A{bson.D{
			{Key: "index", Value: int32(0)},
			{Key: "code", Value: code},
			{Key: "errmsg", Value: message},
		}}},
	)
}

// WithWriteConcernError is the same reply with a complaint that the change is not
// where it should be: it was made, but may be lost or not yet be everywhere.
func (r Reply) WithWriteConcernError(code int32, message string, labels ...string) Reply {
	var doc bson.D
	if err := bson.Unmarshal(r.doc, &doc); err != nil {
		panic(err)
	}
	r.doc = marshal(withLabels(append(doc, bson.E{Key: "writeConcernError", Value: bson.D{
		{Key: "code", Value: code},
		{Key: "codeName", Value: codeName(code)},
		{Key: "errmsg", Value: message},
	}}), labels))
	return r
}

// HangUp is no reply: the connection is closed.
func HangUp() Reply { return Reply{hangUp: true} }

// After is the same reply, later.
func (r Reply) After(d time.Duration) Reply { r.delay = d; return r }

// When is the same reply, when released is closed.
func (r Reply) When(released <-chan struct{}) Reply { r.release = released; return r }

// NotImplemented is an error that also fails the test.
func NotImplemented(format string, args ...any) Reply {
	what := fmt.Sprintf(format, args...)
	reply := Error(238, "not implemented: "+what)
	reply.missing = what
	return reply
}

// due waits until the reply may be sent, and returns false if closed comes first.
func (r Reply) due(closed <-chan struct{}) bool {
	if r.delay > 0 {
		timer := time.NewTimer(r.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-closed:
			return false
		}
	}
	if r.release != nil {
		select {
		case <-r.release:
		case <-closed:
			return false
		}
	}
	return true
}

var codeNames = map[int32]string{
	2: "BadValue", 9: "FailedToParse", 13: "Unauthorized", 14: "TypeMismatch", 20: "IllegalOperation", 26: "NamespaceNotFound",
	40: "ConflictingUpdateOperators", 43: "CursorNotFound", 50: "MaxTimeMSExpired", 52: "DollarPrefixedFieldName",
	59: "CommandNotFound", 64: "WriteConcernFailed", 66: "ImmutableField", 67: "CannotCreateIndex", 73: "InvalidNamespace",
	85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 91: "ShutdownInProgress", 100: "UnsatisfiableWriteConcern",
	189: "PrimarySteppedDown", 225: "TransactionTooOld", 238: "NotImplemented", 262: "ExceededTimeLimit",
	10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey", 11600: "InterruptedAtShutdown",
	11602: "InterruptedDueToReplStateChange", 13435: "NotPrimaryNoSecondaryOk", 13436: "NotPrimaryOrSecondary",
}

func codeName(code int32) string {
	if name := codeNames[code]; name != "" {
		return name
	}
	return fmt.Sprintf("Location%d", code)
}
