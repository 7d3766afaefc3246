package drivertest

import (
	"fmt"
	"slices"

	"example.com/keystore"
)

// state is how a key stands, as far as the operations here change it.
type state struct {
	there      bool
	name       string
	generation int
	revoked    bool
	revision   uint64
}

func stateOf(k keystore.Key) state {
	return state{true, k.Name, k.Generation, !k.RevokedAt.IsZero(), k.Revision()}
}

func (s state) String() string {
	if !s.there {
		return "no key"
	}
	revoked := ""
	if s.revoked {
		revoked = ", revoked"
	}
	return fmt.Sprintf("name %q, generation %d%s at revision %d", s.name, s.generation, revoked, s.revision)
}

// entry is what is known of one key, which one goroutine changes.
type entry struct {
	id       string
	tokens   map[int]keystore.Token // by generation
	past     []state                // what was acknowledged before, oldest first
	now      state                  // what was acknowledged last
	maybe    *state                 // what may have happened since, or may yet; nobody changes the key any more then
	happened bool                   // whether that did
	undone   []state                // what was lost; where two servers took themselves for the master, it may be seen again
}

// acknowledge notes that the key now is in the state.
func (e *entry) acknowledge(s state) { e.past, e.now, e.maybe = append(e.past, e.now), s, nil }

// see compares what was found with what is known, and goes on from there. It may be
// an earlier state: then what was acknowledged since is lost.
func (e *entry) see(s state) (fits bool, loss string) {
	switch {
	case s == e.now: // what is unknown may happen yet
		return true, ""
	case e.maybe != nil && s == *e.maybe:
		e.acknowledge(s)
		e.happened = true
		return true, ""
	}
	same := func(other state) bool { return other == s }
	if loss = e.backTo(same); loss == "" && e.forthTo(same) {
		return true, ""
	}
	return false, loss
}

// backTo goes back to the last of the earlier states that match. It returns what is
// lost thereby, "" if none matches.
func (e *entry) backTo(match func(earlier state) bool) (loss string) {
	for i, earlier := range slices.Backward(e.past) {
		if match(earlier) {
			loss = lossOf(e.now, earlier)
			e.undone = append(append(e.undone, e.past[i+1:]...), e.now)
			if e.maybe != nil {
				e.undone = append(e.undone, *e.maybe)
			}
			e.past, e.now, e.maybe = e.past[:i], earlier, nil
			return loss
		}
	}
	return ""
}

// forthTo goes forth again to a state that was lost, if one matches.
func (e *entry) forthTo(match func(lost state) bool) bool {
	i := slices.IndexFunc(e.undone, match)
	if i >= 0 {
		e.acknowledge(e.undone[i])
	}
	return i >= 0
}

// known returns the newest state that matches of those in which the key may be, or
// was.
func (e *entry) known(match func(state) bool) (state, bool) {
	all := append(slices.Concat(e.undone, e.past), e.now)
	if e.maybe != nil {
		all = append(all, *e.maybe)
	}
	for _, s := range slices.Backward(all) {
		if match(s) {
			return s, true
		}
	}
	return state{}, false
}

func lossOf(from, to state) string {
	switch {
	case !from.there:
		return "deletion"
	case !to.there:
		return "key"
	case from.revoked && !to.revoked:
		return "revocation"
	}
	return "other change"
}
