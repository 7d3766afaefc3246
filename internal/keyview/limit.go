package keyview

import (
	"iter"
	"time"

	"example.com/keystore"
)

// Limit is a limit in JSON, of a key or of a plan.
type Limit struct {
	Name     string `json:"name" pattern:"^[a-z0-9][a-z0-9_-]{0,31}$"`
	Requests int64  `json:"requests" minimum:"1" maximum:"999999999999999" doc:"That may pass in one window."`
	Seconds  int64  `json:"window_seconds" minimum:"1" maximum:"31622400" doc:"The length of a window, of which one begins at each multiple of it since the beginning of 1970, in UTC."`
}

// Limits returns the view of limits. It is never nil, for null is no array.
func Limits(limits iter.Seq[keystore.Limit]) []Limit {
	views := []Limit{}
	for l := range limits {
		views = append(views, limitOf(l))
	}
	return views
}

func limitOf(l keystore.Limit) Limit {
	return Limit{Name: l.Name, Requests: l.Requests, Seconds: int64(l.Window / time.Second)}
}

// LimitState is a limit and what is left of it.
type LimitState struct {
	Limit
	Remaining int64     `json:"remaining" minimum:"0" doc:"Requests that may still pass in this window."`
	Reset     time.Time `json:"reset" doc:"When this window ends, and the next begins."`
}

// States returns the view of the states of limits. It is never nil.
func States(states []keystore.LimitState) []LimitState {
	views := make([]LimitState, len(states))
	for i, s := range states {
		views[i] = LimitState{limitOf(s.Limit), s.Remaining, s.Reset}
	}
	return views
}
