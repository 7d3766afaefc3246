package keystore

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
)

// loadKey is a key of TestMixedLoad, with all that it ever was. One goroutine at a
// time changes it; any look it up.
type loadKey struct {
	id string

	mu       sync.Mutex
	tokens   []string
	versions []loadVersion // the last may be under way
	waiting  []observation // judged when that has ended
	purged   bool
}

// loadVersion is a state of the key from some time within the call that made it.
type loadVersion struct {
	began, ended time.Time // zero: under way
	family       int       // that made it
	loadState
}

type loadState struct {
	deleted, revoked, disabled, narrow bool
	expires                            time.Time   // zero: never
	until                              []time.Time // of each older token; the current one is after them
}

// neverIssued is the index of a wrong secret.
const neverIssued = math.MaxInt

// observation is one lookup.
type observation struct {
	began, ended time.Time
	family       int
	token        int // index, or neverIssued
	scoped       bool
	got          Reason
}

// over reports whether the key will not change any more.
func (k *loadKey) over() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	last := k.versions[len(k.versions)-1]
	return k.purged || last.deleted || last.revoked
}

// judge returns the observations that nothing explains.
func (k *loadKey) judge(o observation) []observation {
	k.mu.Lock()
	defer k.mu.Unlock()
	if last := k.versions[len(k.versions)-1]; last.ended.IsZero() {
		k.waiting = append(k.waiting, o)
		return nil
	}
	if !k.explains(o) {
		return []observation{o}
	}
	return nil
}

// explains reports whether a version that the lookup may have seen gives its
// outcome. It may have seen any that had begun before it ended, unless a later one
// had returned before it began: in the same family, or CacheTTL before that in
// another one. That a secret is wrong must be as true as in the same family.
func (k *loadKey) explains(o observation) bool {
	for i := len(k.versions) - 1; i >= 0; i-- {
		v := &k.versions[i]
		if v.began.Before(o.ended) && v.allows(o) {
			return true
		}
		lag := loadTTL
		if v.family == o.family || o.got == ReasonWrongSecret {
			lag = 0
		}
		if o.began.After(v.ended.Add(lag)) {
			return false
		}
	}
	return false
}

// allows reports whether the key in this state gives that outcome at some time of
// the lookup.
func (s *loadState) allows(o observation) bool {
	times := []time.Time{wholeMillis(o.began), o.ended}
	if s.expires.After(o.began) && s.expires.Before(o.ended) {
		times = append(times, s.expires)
	}
	for _, now := range times {
		switch {
		case o.got == s.answer(o, now),
			o.got == ReasonWrongSecret && !s.deleted && s.ended(o.token, now), // and forgotten
			o.got == ReasonUnknownKey && s.mayBePurged(now):
			return true
		}
	}
	return false
}

func (s *loadState) answer(o observation, now time.Time) Reason {
	switch {
	case s.deleted:
		return ReasonUnknownKey
	case o.token > len(s.until):
		return ReasonWrongSecret
	case s.revoked:
		return ReasonRevoked
	case s.disabled:
		return ReasonDisabled
	case s.ended(o.token, now):
		return ReasonSuperseded
	case s.expired(now):
		return ReasonExpired
	case s.narrow && o.scoped:
		return ReasonMissingScope
	}
	return ""
}

// tidy is what every write does: an older secret does not outlive the key, also if
// that is extended later.
func (s *loadState) tidy() {
	for i := range s.until {
		if !s.expires.IsZero() {
			s.until[i] = earlier(s.until[i], s.expires)
		}
	}
}

func (s *loadState) ended(token int, now time.Time) bool {
	return token < len(s.until) && !now.Before(s.until[token])
}

func (s *loadState) expired(now time.Time) bool {
	return !s.expires.IsZero() && !now.Before(s.expires)
}

func (s *loadState) mayBePurged(now time.Time) bool { return s.revoked || s.expired(now) }

// describe tells what is known of a lookup that nothing explains.
func (k *loadKey) describe(o observation) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "lookup of token %d (scoped %t) in family %d took %v and was answered %q; changes, from its beginning:", o.token, o.scoped, o.family, o.ended.Sub(o.began), o.got)
	for _, v := range k.versions[max(0, len(k.versions)-6):] {
		fmt.Fprintf(&text, "\n%v to %v by family %d: deleted %t, revoked %t, disabled %t, narrow %t, expires %v, older tokens until",
			v.began.Sub(o.began), v.ended.Sub(o.began), v.family, v.deleted, v.revoked, v.disabled, v.narrow, v.expires.Sub(o.began))
		for _, until := range v.until[max(0, len(v.until)-6):] {
			fmt.Fprintf(&text, " %v", until.Sub(o.began))
		}
	}
	return text.String() // a zero time is 292 years before
}
