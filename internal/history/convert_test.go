package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/keystore"
)

// start is when every clock of this package starts.
var start = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// manualClock stands still until it is set.
type manualClock struct{ ns atomic.Int64 }

func newManualClock() *manualClock {
	c := new(manualClock)
	c.set(start, 0)
	return c
}

// set moves the clock to a millisecond and a part of it.
func (c *manualClock) set(ms int64, part time.Duration) {
	c.ns.Store(ms*int64(time.Millisecond) + int64(part))
}
func (c *manualClock) now() time.Time { return time.Unix(0, c.ns.Load()) }
func (c *manualClock) ms() int64      { return c.now().UnixMilli() }

// timeOf is a time of the model as the keystore's: never is the zero time.
func timeOf(ms int64) time.Time {
	if ms == never {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func msOf(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMilli()
}

// viewOf is a key as the model shows it; the zero Key is the zero view.
func viewOf(k keystore.Key) view {
	if k.ID == "" {
		return view{}
	}
	return view{
		fields: fields{
			owner: k.Owner, prefix: k.Prefix, name: k.Name, description: k.Description,
			scopes:   strings.Join(slices.Collect(k.Scopes.All()), " "),
			metadata: canonicalMetadata(maps.Collect(k.Metadata.All())),
			created:  msOf(k.CreatedAt), expires: msOf(k.ExpiresAt),
			revoked: msOf(k.RevokedAt), reason: k.RevokeReason,
			disabled: k.Disabled, revision: k.Revision(),
		},
		generation: k.Generation, graceUntil: msOf(k.GraceUntil), lastUsed: msOf(k.LastUsedAt),
	}
}

var errStop = errors.New("the function that was given to Update stops it")

// verdictOf says how a call other than a lookup ended.
func verdictOf(err error) verdict {
	for _, kind := range []struct {
		verdict verdict
		target  error
	}{
		{unknown, keystore.ErrUnknownOutcome}, {unavailable, keystore.ErrUnavailable}, {notFound, keystore.ErrNotFound},
		{badState, keystore.ErrState}, {invalid, keystore.ErrInvalid}, {conflict, keystore.ErrConflict}, {stopped, errStop},
	} {
		if errors.Is(err, kind.target) {
			return kind.verdict
		}
	}
	if err == nil {
		return done
	}
	return verdict(fmt.Sprintf("unexpected: %v", err))
}

// refusals are the errors that go with the reasons of a refused lookup.
var refusals = map[keystore.Reason]error{
	keystore.ReasonMalformed:     keystore.ErrUnauthenticated,
	keystore.ReasonUnknownPrefix: keystore.ErrUnauthenticated,
	keystore.ReasonUnknownKey:    keystore.ErrUnauthenticated,
	keystore.ReasonWrongSecret:   keystore.ErrUnauthenticated,
	keystore.ReasonSuperseded:    keystore.ErrExpired,
	keystore.ReasonExpired:       keystore.ErrExpired,
	keystore.ReasonRevoked:       keystore.ErrRevoked,
	keystore.ReasonDisabled:      keystore.ErrDisabled,
	keystore.ReasonOwnerInactive: keystore.ErrOwnerInactive,
	keystore.ReasonMissingScope:  keystore.ErrMissingScope,
	keystore.ReasonInvalidScope:  keystore.ErrInvalid,
	keystore.ReasonUnavailable:   keystore.ErrUnavailable,
}

// lookupVerdict is the reason of a refused lookup, if the error fits it.
func lookupVerdict(err error) verdict {
	if err == nil {
		return done
	}
	refused, ok := errors.AsType[*keystore.LookupError](err)
	if !ok || refusals[refused.Reason] == nil || !errors.Is(err, refusals[refused.Reason]) {
		return verdict(fmt.Sprintf("unexpected: %v", err))
	}
	forbidden := refusals[refused.Reason] == keystore.ErrUnavailable || refused.Reason == keystore.ReasonMissingScope
	if forbidden && errors.Is(err, keystore.ErrUnauthenticated) {
		return verdict(fmt.Sprintf("an outage or a missing scope that reads as an unknown key: %v", err))
	}
	return verdict(refused.Reason)
}

// function is what Update is called with to make the edit. The part of a
// millisecond is what the keystore must cut off the expiry.
func (e edit) function(part time.Duration) func(*keystore.Changes) error {
	return func(c *keystore.Changes) error {
		if e.name != nil {
			c.Name = *e.name
		}
		if e.description != nil {
			c.Description = *e.description
		}
		if e.scopes != nil {
			c.Scopes = slices.Clone(*e.scopes)
		}
		if e.metadata != nil {
			c.Metadata = maps.Clone(*e.metadata)
		}
		if e.disabled != nil {
			c.Disabled = *e.disabled
		}
		if e.expires != nil {
			c.ExpiresAt = timeOf(*e.expires)
			if *e.expires != never {
				c.ExpiresAt = c.ExpiresAt.Add(part)
			}
		}
		if e.count {
			n, _ := strconv.Atoi(c.Metadata["n"])
			c.Metadata["n"] = strconv.Itoa(n + 1)
		}
		if e.stop {
			return errStop
		}
		return nil
	}
}
