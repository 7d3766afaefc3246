package limits

import (
	"time"

	"example.com/keystore"
)

// request is what a test asks of a worker; which fields count depends on Do.
type request struct {
	Do  string
	Now int64 // sets the worker's clock, in milliseconds since 1970; 0: it stays as it is
	// Running has the clock go on from Now. Else it stands still.
	Running bool

	Settings settings // open

	Callers int      // look, begin: goroutines that look up at the same time
	Each    int      // look: lookups of each of them
	Tokens  []string // look, begin: taken in turn
	Scope   string   // look, begin
	Costs   []int64  // look, begin: taken in turn; none: 1
	Peek    bool     // look

	ID string // usage
}

// settings are those of the worker's keystore.
type settings struct {
	NoCache       bool
	Open          bool          // LimitsOpen, and cached keys outlive an outage
	OpTimeout     time.Duration // 0: long enough for a machine that is busy
	UsageInterval time.Duration // 0: usage is written when it is asked for, and by Close
	Plans         map[string][]keystore.Limit
}

// reply is the answer.
type reply struct {
	Error   string           `json:",omitempty"` // what failed; the test ends with it
	Answers answers          `json:",omitempty"` // look, end
	Seen    seen             `json:",omitzero"`  // progress
	Usage   []keystore.Usage `json:",omitempty"` // usage
	Spends  int64            `json:",omitempty"` // calls of the backend's Spend so far
	Flushes int64            `json:",omitempty"` // calls of its AddUsage
}

// seen is how many lookups of a load ended so.
type seen struct{ Passed, Unchecked, Unavailable int }

// answer is what came of one lookup.
type answer struct {
	Reason     keystore.Reason `json:",omitempty"` // why it was refused; "": it passed
	Wrong      string          `json:",omitempty"` // an error that no lookup may have
	Detail     string          `json:",omitempty"` // of a failure
	Unchecked  bool            `json:",omitempty"`
	Cost       int64
	Took       time.Duration
	Limits     []state       `json:",omitempty"`
	RetryAfter time.Duration `json:",omitempty"`
	Exceeded   []string      `json:",omitempty"`
}

func (a answer) passed() bool { return a.Reason == "" && a.Wrong == "" }

// limit is the state of a limit of that name.
func (a answer) limit(name string) state {
	for _, s := range a.Limits {
		if s.Name == name {
			return s
		}
	}
	return state{}
}

// state is how a limit stands.
type state struct {
	Name      string
	Remaining int64
	Reset     int64 // milliseconds since 1970
}

func statesOf(from []keystore.LimitState) []state {
	var states []state
	for _, s := range from {
		states = append(states, state{s.Name, s.Remaining, s.Reset.UnixMilli()})
	}
	return states
}
