package history

import (
	"math"
	"slices"
	"strings"
)

// The model says what docs/design.md says of one key. It shares no code with
// the keystore. Times are Unix milliseconds.

const (
	never   = 0             // of an expiry, a revocation, a use or an end of grace
	forever = math.MaxInt64 // the deadline of the current secret
	ended   = 0             // the deadline of a secret that was ended for good, by whatever clock

	maxLive    = 5 // secrets that are accepted at one time
	remembered = 5 // superseded secrets that are still known as such
)

// rules are the options of the keystore that the state of a key depends on.
type rules struct {
	retention, maxTTL, defaultTTL int64 // maxTTL and defaultTTL zero: none
	prefix                        string
	accept                        []string // further prefixes
}

func (r rules) accepts(prefix string) bool {
	return prefix == r.prefix || slices.Contains(r.accept, prefix)
}

// fields are what a key is, apart from its secrets. Scopes and metadata are
// held in one canonical text each, so that states can be compared.
type fields struct {
	owner, prefix     string
	name, description string
	scopes, metadata  string
	created, expires  int64
	revoked           int64
	reason            string
	disabled          bool
	revision          uint64
}

// secret is one secret of a key. The number tells it from every other secret of
// the history; a rotation that did not happen has one, too.
type secret struct {
	number     int
	generation int
	until      int64 // accepted while now is before it
}

func (s secret) live(now int64) bool { return s.number != 0 && now < s.until }

// state is a key at one moment.
type state struct {
	made    bool // Generate took effect
	present bool // and it is neither deleted nor purged
	fields
	secrets [maxLive + remembered + 1]secret // newest first, the current one at 0

	used     int64 // the last use that a lookup noted, never if none
	lastSeen int64 // the latest LastUsedAt that a read showed
	over     bool  // the history has ended: see judge.step
}

// view is a key as a caller sees it.
type view struct {
	fields
	generation int
	graceUntil int64
	lastUsed   int64
}

func (s state) view(now int64) view {
	v := view{fields: s.fields, generation: s.secrets[0].generation}
	for _, old := range s.secrets[1:] {
		if old.live(now) {
			v.graceUntil = max(v.graceUntil, old.until)
		}
	}
	return v
}

func (s state) expired(now int64) bool { return s.expires != never && now >= s.expires }

// condition is revoked, disabled, expired or active, in this order of precedence.
func (s state) condition(now int64) string {
	switch {
	case s.revoked != never:
		return "revoked"
	case s.disabled:
		return "disabled"
	case s.expired(now):
		return "expired"
	}
	return "active"
}

// purgeAt is retention after the earlier of revocation and expiry.
func (s state) purgeAt(r rules) int64 {
	switch {
	case s.revoked == never && s.expires == never:
		return never
	case s.revoked == never:
		return s.expires + r.retention
	case s.expires == never:
		return s.revoked + r.retention
	}
	return min(s.revoked, s.expires) + r.retention
}

// find returns the secret with a number, if the key remembers it.
func (s state) find(number int) (secret, bool) {
	for _, known := range s.secrets {
		if known.number == number && number != 0 {
			return known, true
		}
	}
	return secret{}, false
}

// lower moves the deadline of every older secret to at, if it is later.
func (s *state) lower(at int64) {
	for i := range s.secrets[1:] {
		old := &s.secrets[i+1]
		old.until = min(old.until, at)
	}
}

// rotate puts a new current secret in front; the others are accepted until the
// deadline. It is refused if more than five would then be accepted.
func (s *state) rotate(number int, deadline, now int64) bool {
	if deadline <= now {
		deadline = ended
	}
	all := s.secrets
	live := 1
	for i := range all {
		old := &all[i]
		old.until = min(old.until, deadline)
		if old.live(now) {
			live++
		}
	}
	if live > maxLive {
		return false
	}
	s.secrets[0] = secret{number, s.secrets[0].generation + 1, forever}
	copy(s.secrets[1:], all[:])
	return true
}

// written is what every change does besides: it counts, it lowers the deadlines
// of older secrets to the expiry, for good, and it forgets all but the last five
// superseded ones.
func (s *state) written(now int64) {
	s.revision++
	if s.expires != never {
		s.lower(s.expires)
	}
	kept, dead := 0, 0
	for _, old := range s.secrets {
		if old.number == 0 {
			continue
		}
		if !old.live(now) {
			if dead++; dead > remembered {
				continue
			}
		}
		s.secrets[kept] = old
		kept++
	}
	clear(s.secrets[kept:])
}

// covers reports whether the granted scopes, separated by spaces, cover one
// required scope. The segment "keystore" is covered by the literal scope alone.
func covers(granted, required string) bool {
	for _, g := range strings.Fields(granted) {
		switch {
		case g == required:
			return true
		case administers(required):
		case g == "*", strings.HasSuffix(g, ":*") && strings.HasPrefix(required, g[:len(g)-1]):
			return true
		}
	}
	return false
}

func administers(scope string) bool {
	return scope == "keystore" || strings.HasPrefix(scope, "keystore:")
}
