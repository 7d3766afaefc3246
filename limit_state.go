package keystore

import (
	"encoding/json"
	"fmt"
	"time"
)

// LimitState is a limit of a key, and what is left of it.
type LimitState struct {
	Limit
	Remaining int64     // requests that may still pass in this window
	Reset     time.Time // when the window ends, and the next begins with all of Requests
}

// String returns what is left: "93 of day 100/24h until 2026-11-27T00:00:00Z".
func (l LimitState) String() string {
	return fmt.Sprintf("%d of %s until %s", l.Remaining, l.Limit, l.Reset.Format(time.RFC3339))
}

// limitStateJSON is what package adminapi answers, too.
type limitStateJSON struct {
	limitJSON
	Remaining int64     `json:"remaining"`
	Reset     time.Time `json:"reset"`
}

// MarshalJSON returns the object of the Limit with two more members: "remaining",
// and "reset" in RFC 3339.
func (l LimitState) MarshalJSON() ([]byte, error) {
	return json.Marshal(limitStateJSON{l.json(), l.Remaining, l.Reset})
}

// UnmarshalJSON reads what MarshalJSON writes. The error is ErrInvalid, or one of
// package json.
func (l *LimitState) UnmarshalJSON(text []byte) error {
	var from limitStateJSON
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	limit, err := from.limit()
	if err == nil {
		*l = LimitState{limit, from.Remaining, from.Reset}
	}
	return err
}
