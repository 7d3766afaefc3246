package fleet

import (
	"time"

	"example.com/keystore"
)

// job is what a process is for. It comes with the environment.
type job struct {
	Role     string // changer or reader
	Driver   string // redis, cluster or mongo
	URL      string
	Addrs    []string // of a cluster's nodes
	CacheTTL time.Duration
}

// request is what the test asks of a process, a line of JSON each; which fields count
// depends on Do.
type request struct {
	Do    string
	Count int      // generate: of each kind
	Keys  []key    // serve, change, verify: the keys
	IDs   []string // warm, retire, heard
	Until int64    // retire: each key must have been looked up after this time
	Mode  mode     // channel
}

// reply is the answer, a line as well.
type reply struct {
	Error string `json:",omitempty"` // what failed; the test ends with it

	Now    int64                  `json:",omitempty"` // hello
	Keys   []key                  `json:",omitempty"` // generate; verify: those that do not show the change
	Change change                 `json:",omitzero"`  // change
	Seen   map[string]observation `json:",omitempty"` // retire, by id
	Heard  bool                   `json:",omitempty"` // heard: a change of one of the ids was heard of
	Stats  keystore.Stats         `json:",omitzero"`  // stats
}

// key is a key that is to be changed, and what is done with it.
type key struct {
	ID    string
	Token string
	Kind  kind
	// Flood has the readers present wrong secrets for the id all the while, so that new
	// ones wait for their turn to be read.
	Flood bool `json:",omitempty"`
}

// kind is a kind of change.
type kind string

const (
	revoke  kind = "revoke"
	rotate  kind = "rotate"
	renew   kind = "rotate-in-use" // a rotation whose token is presented elsewhere at once
	disable kind = "disable"
	narrow  kind = "narrow" // of scopes
	remove  kind = "delete"
)

var kinds = []kind{revoke, rotate, renew, disable, narrow, remove}

// change is a change that was made.
type change struct {
	Key      key
	Called   int64  // before the first attempt
	Returned int64  // when the last one, which succeeded, had returned
	Tries    int    // attempts; those before the last one failed, or their outcome was unknown
	NewToken string `json:",omitempty"`
}

// observation is what a reader has seen of a key.
type observation struct {
	Old oldToken // of lookups with the token and the scope that the change makes worthless
	New newToken // of those with the token of a rotation
	// Heard: Watch has told of a change since the key was cached.
	Heard bool `json:",omitempty"`
	// Wrong are answers that are never right.
	Wrong []string `json:",omitempty"`
}

// oldToken is what came of lookups with the old token. Times are of when a lookup began.
type oldToken struct {
	Accepted, Refused, Outages int

	LastAccepted int64
	LastAnswered int64 // accepted or refused
	FirstRefusal answer
	Hits         []hits `json:",omitempty"`
}

// hits are lookups in a row that were accepted without a read of the store.
type hits struct {
	Count       int
	First, Last int64
	Ended       int64 // when the first lookup began that was none; 0: there is none so far
}

// newToken is what came of lookups with the new token.
type newToken struct {
	Accepted, Refused, Outages int

	FirstAccepted answer
	Longest       int64    // that one took which was accepted
	Refusals      []answer `json:",omitempty"` // the first few
	LastRefusal   answer
}

// answer is one answer. The zero value is none.
type answer struct {
	Began, Ended int64
	Reason       string `json:",omitempty"`
}
