package history

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// call is one operation on one key, with all that its effect depends on.
type call struct {
	op     string
	id     string
	now    int64 // the clock during the call
	number int   // of the secret that Generate or Rotate makes, or Lookup presents

	owner    string // Generate
	reserved bool   // Generate: reserved scopes are allowed
	params   edit   // what Generate sets or Update changes
	at       int64  // Generate, Expire, Rotate: the new expiry; Rotate: never is unchanged
	ttl      int64  // Generate, instead of at

	grace      int64    // Rotate
	ifRevision uint64   // Rotate
	reason     string   // Revoke, RevokeAll
	scopes     []string // Lookup
	idle       bool     // Lookup: the owner is not active
	wrong      bool     // an argument is one that no state of the key allows
}

// The operations. Seen is an entry of a listing, a read like Get. Exists and
// Vanish are the two halves of a Delete that found its key, see record.remove.
const (
	opGenerate    = "Generate"
	opLookup      = "Lookup"
	opGet         = "Get"
	opSeen        = "Seen"
	opUpdate      = "Update"
	opExpire      = "Expire"
	opClearExpiry = "ClearExpiry"
	opRotate      = "Rotate"
	opEndGrace    = "EndGrace"
	opRevoke      = "Revoke"
	opRevokeAll   = "RevokeAll"
	opDelete      = "Delete"
	opExists      = "Exists"
	opVanish      = "Vanish"
	opPurge       = "Purge"
	opEnd         = "End" // of the history
)

// answer is what a call returned.
type answer struct {
	verdict    verdict
	view       view
	generation int // of the secret that Lookup presented
}

// verdict is how a call ended: one of these, or the reason of a refused lookup.
type verdict string

const (
	done        verdict = "ok"
	notFound    verdict = "not found"
	badState    verdict = "state"
	invalid     verdict = "invalid"
	conflict    verdict = "conflict"
	unavailable verdict = "unavailable" // and nothing happened
	unknown     verdict = "unknown"     // it may have happened, and may happen yet
	stopped     verdict = "stopped"     // by the function that was given to Update
)

// edit is what an Update sets. A nil field stays as it is.
type edit struct {
	name, description *string
	scopes            *[]string
	metadata          *map[string]string
	expires           *int64
	disabled          *bool
	count             bool // adds one to the entry "n" of the metadata
	broken            bool // something in it is against the limits
	stop              bool // the function returns an error
}

// apply says what a call does to a key and what it answers, if nothing fails and
// no other call is under way.
func (r rules) apply(s state, c call) (state, answer) {
	if c.wrong {
		return s, answer{verdict: invalid}
	}
	switch c.op {
	case opGenerate:
		return r.generate(s, c)
	case opPurge:
		if at := s.purgeAt(r); s.present && at != never && at <= c.now {
			s = s.gone()
		}
		return s, answer{verdict: done}
	case opLookup:
		return lookup(s, c)
	}
	if !s.present {
		if c.op == opRevokeAll || c.op == opVanish {
			return s, answer{verdict: done}
		}
		return s, answer{verdict: notFound}
	}
	switch c.op {
	case opDelete, opVanish:
		return s.gone(), answer{verdict: done}
	case opExists:
		return s, answer{verdict: done}
	case opGet, opSeen:
		return s, answer{verdict: done, view: s.view(c.now)}
	}
	next, verdict := r.change(s, c)
	if verdict != done {
		return s, answer{verdict: verdict}
	}
	if next != s {
		next.written(c.now)
	}
	if c.op == opRevokeAll {
		return next, answer{verdict: done}
	}
	return next, answer{verdict: done, view: next.view(c.now)}
}

func (s state) gone() state { return state{made: true, over: s.over} }

func (r rules) generate(s state, c call) (state, answer) {
	expires := c.at
	switch {
	case c.ttl < 0, c.ttl > 0 && c.at != never, !c.params.allowed("", c.reserved):
		return s, answer{verdict: invalid}
	case c.ttl > 0:
		expires = c.now + c.ttl
	case c.at == never && r.defaultTTL > 0:
		expires = c.now + r.defaultTTL
	}
	if !r.expiry(expires, c.now) {
		return s, answer{verdict: invalid}
	}
	s = state{made: true, present: true, fields: fields{
		owner: c.owner, prefix: r.prefix, metadata: "{}", created: c.now, expires: expires, revision: 1,
	}}
	c.params.set(&s.fields)
	s.secrets[0] = secret{c.number, 1, forever}
	return s, answer{verdict: done, view: s.view(c.now)}
}

// expiry reports whether a key may get an expiry now.
func (r rules) expiry(at, now int64) bool {
	if at == never {
		return r.maxTTL == 0
	}
	return at > now && (r.maxTTL == 0 || at-now <= r.maxTTL)
}

func lookup(s state, c call) (state, answer) {
	refuse := func(reason verdict) (state, answer) { return s, answer{verdict: reason} }
	known, ok := s.find(c.number)
	condition := s.condition(c.now)
	switch {
	case !s.present:
		return refuse("unknown_key")
	case !ok:
		return refuse("wrong_secret")
	case condition == "revoked", condition == "disabled":
		return refuse(verdict(condition))
	case !known.live(c.now):
		return refuse("superseded")
	case condition == "expired":
		return refuse("expired")
	case c.idle:
		return refuse("owner_inactive")
	case slices.ContainsFunc(c.scopes, func(required string) bool { return !covers(s.scopes, required) }):
		return refuse("missing_scope")
	}
	v := s.view(c.now)
	s.used = max(s.used, c.now)
	return s, answer{verdict: done, view: v, generation: known.generation}
}

// change is what an operation changes of a key that is there. A revoked key
// allows none but another revocation, and an expired one no rotation.
func (r rules) change(s state, c call) (state, verdict) {
	if c.op == opRevoke || c.op == opRevokeAll {
		if s.revoked == never { // the first time and reason stay
			s.revoked, s.reason = c.now, c.reason
		}
		return s, done
	}
	if s.revoked != never {
		return s, badState
	}
	switch c.op {
	case opUpdate:
		return r.update(s, c)
	case opExpire:
		if c.at > c.now {
			if !r.expiry(c.at, c.now) {
				return s, invalid
			}
			s.expires = c.at
		} else if !s.expired(c.now) { // one that has expired did so at its own time
			s.expires = c.now
		}
		return s, done
	case opClearExpiry:
		if s.expires != never && !r.expiry(never, c.now) {
			return s, invalid
		}
		s.expires = never
		return s, done
	}
	if s.expired(c.now) {
		return s, badState
	}
	if c.op == opEndGrace {
		for i := range s.secrets[1:] {
			if old := &s.secrets[i+1]; old.live(c.now) {
				old.until = ended
			}
		}
		return s, done
	}
	return r.rotate(s, c)
}

func (r rules) update(s state, c call) (state, verdict) {
	switch e := c.params.expires; {
	case c.params.stop:
		return s, stopped
	case !c.params.allowed(s.scopes, false):
		return s, invalid
	case e != nil && *e != s.expires && !r.expiry(*e, c.now):
		return s, invalid
	case e != nil:
		s.expires = *e
	}
	c.params.set(&s.fields)
	return s, done
}

func (r rules) rotate(s state, c call) (state, verdict) {
	if c.ifRevision != 0 && c.ifRevision != s.revision {
		return s, conflict
	}
	deadline := c.now + c.grace
	if s.expires != never {
		deadline = min(deadline, s.expires)
	}
	if c.at != never {
		if !r.expiry(c.at, c.now) {
			return s, invalid
		}
		s.expires, deadline = c.at, min(deadline, c.at)
	}
	if !s.rotate(c.number, deadline, c.now) {
		return s, badState
	}
	if !r.accepts(s.prefix) {
		s.prefix = r.prefix
	}
	return s, done
}

// allowed reports whether the edit keeps to the limits. Scopes that administer
// the store can be kept, but not added unless that is allowed.
func (e edit) allowed(granted string, reserved bool) bool {
	if e.scopes != nil && !reserved {
		for _, scope := range *e.scopes {
			if administers(scope) && !slices.Contains(strings.Fields(granted), scope) {
				return false
			}
		}
	}
	return !e.broken
}

// set makes the edit, except for the expiry.
func (e edit) set(f *fields) {
	if e.name != nil {
		f.name = *e.name
	}
	if e.description != nil {
		f.description = *e.description
	}
	if e.disabled != nil {
		f.disabled = *e.disabled
	}
	if e.scopes != nil {
		f.scopes = canonicalScopes(*e.scopes)
	}
	if e.metadata != nil {
		f.metadata = canonicalMetadata(*e.metadata)
	}
	if e.count {
		var m map[string]string
		if err := json.Unmarshal([]byte(f.metadata), &m); err != nil {
			panic(err) // the model wrote it
		}
		n, _ := strconv.Atoi(m["n"])
		m["n"] = strconv.Itoa(n + 1)
		f.metadata = canonicalMetadata(m)
	}
}

// canonicalScopes is the set in byte order.
func canonicalScopes(scopes []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(scopes))), " ")
}

// canonicalMetadata is JSON, whose keys are in order.
func canonicalMetadata(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // a map of strings
	}
	return string(text)
}
