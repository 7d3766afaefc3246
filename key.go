package keystore

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what a key holds, in bytes.
const (
	maxOwnerLen       = 256
	maxNameLen        = 128
	maxDescriptionLen = 1024
	maxReasonLen      = 1024
)

// Key is what the store knows of an API key, without its secret: a value that
// can be copied and shared. Times are UTC, in whole milliseconds; a zero time
// means never.
type Key struct {
	ID           string    `json:"id"`
	Owner        string    `json:"owner"`
	Name         string    `json:"name"`
	Description  string    `json:"description"`
	Prefix       string    `json:"prefix"` // of the token last issued
	Scopes       Scopes    `json:"scopes"`
	Metadata     Metadata  `json:"metadata"`
	CreatedAt    time.Time `json:"created_at"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // valid while now is before it
	RevokedAt    time.Time `json:"revoked_at,omitzero"`
	LastUsedAt   time.Time `json:"last_used_at,omitzero"` // lags by up to Options.TouchInterval
	RevokeReason string    `json:"revoke_reason,omitempty"`
	Disabled     bool      `json:"disabled"`
	Generation   int       `json:"generation"`           // 1, and one more per rotation
	GraceUntil   time.Time `json:"grace_until,omitzero"` // when the last older secret stops working; zero: none is accepted
	Plan         string    `json:"plan,omitempty"`       // of Options.Plans, whose limits hold for the key
	Limits       Limits    `json:"limits,omitzero"`      // its own, which take the place of the plan's of the same name

	revision uint64
}

// State is what a key can be used for at one time.
type State string

// The states of a key, in order of precedence.
const (
	Revoked  State = "revoked"  // for ever
	Disabled State = "disabled" // until enabled again
	Expired  State = "expired"  // unless extended before it is purged
	Active   State = "active"
)

// State returns the state of the key at a time: the first that applies of
// Revoked, Disabled, Expired and Active.
func (k Key) State(now time.Time) State { return k.state(now) }

// state spares a lookup the copy of the key.
func (k *Key) state(now time.Time) State {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case k.Disabled:
		return Disabled
	case k.expired(now):
		return Expired
	}
	return Active
}

func (k *Key) expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// CheckScopes returns nil if the key covers all of the required scopes, and else
// a *ScopeError that names the missing ones and is ErrMissingScope. A required
// scope that is malformed, "" included, is ErrInvalid.
func (k Key) CheckScopes(scopes ...string) error {
	if err := checkRequired(scopes); err != nil {
		return err
	}
	return k.Scopes.check(scopes)
}

// Revision counts the changes of the key, for RotateParams.IfRevision and HTTP's
// If-Match. Use does not change it, but for one that makes Options.Rehash rewrite
// a digest.
func (k Key) Revision() uint64 { return k.revision }

// KeyParams describes a key to be generated. Owner is required.
type KeyParams struct {
	Owner         string // 1..256 bytes of UTF-8 without NUL
	Name          string // at most 128 bytes
	Description   string // at most 1024 bytes
	Scopes        []string
	Metadata      map[string]string // at most 64 entries, 16 KiB in total
	ExpiresAt     time.Time         // either this
	TTL           time.Duration     // or this, or neither for Options.DefaultTTL
	AllowReserved bool              // grant scopes of the reserved segment "keystore"
	Plan          string            // of Options.Plans; "": none
	Limits        []Limit           // at most 8, those of the plan included
}

// Changes is what Update may change of a key. It holds today's values when the
// function is called; its slices and maps are copies.
type Changes struct {
	Name, Description string
	Scopes            []string
	Metadata          map[string]string
	ExpiresAt         time.Time // zero: never
	Disabled          bool
	Plan              string  // of Options.Plans; "": none
	Limits            []Limit // of its own, by name

	Revision uint64 // of the key that these are the values of; for comparing only
}

// Times lie in these years because ids hold 8 base62 characters of milliseconds.
const maxMillis = 62*62*62*62*62*62*62*62 - 1 // Unix milliseconds

var (
	firstTime = time.UnixMilli(0).UTC()
	lastTime  = time.UnixMilli(maxMillis).UTC() // in December 8888
)

func inRange(t time.Time) bool { return !t.Before(firstTime) && !t.After(lastTime) }

// checkClock refuses to write times that the format cannot hold.
func checkClock(now time.Time) error {
	if !inRange(now) {
		return invalid("clock", "it reads the year %d, outside 1970 to 8888", now.Year())
	}
	return nil
}

// millis cuts a time that is inRange to whole milliseconds UTC.
func millis(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()).UTC() }

func checkOwner(owner string) error {
	switch {
	case owner == "":
		return invalid("owner", "it is empty")
	case strings.ContainsRune(owner, 0):
		return invalid("owner", "it holds a NUL byte")
	}
	return checkText("owner", owner, maxOwnerLen)
}

func checkText(field, text string, max int) error {
	if len(text) > max {
		return invalid(field, "%d bytes are more than %d", len(text), max)
	}
	if !utf8.ValidString(text) {
		return invalid(field, "it is not valid UTF-8")
	}
	return nil
}
