package crash

import (
	"fmt"
	"maps"
	"slices"

	"example.com/keystore"
)

// What may come of a damage.
const (
	nothingLost  = "opened, nothing lost"
	refused      = "refused to open"
	processEnded = "the process ended"
	lossSaid     = "opened, loss said"
	lossSilent   = "SILENT LOSS"
	unrevoked    = "SILENT UN-REVOCATION"
	altered      = "ALTERED RECORD"
	hung         = "HUNG"
)

// bad reports what must not happen. The end of the process is loud, but too late:
// where Badger panics over a table, it does so on a goroutine of its own, and until
// the process is gone the database is open without that table.
func (one trial) bad() bool {
	switch one.outcome {
	case nothingLost, refused, lossSaid:
		return false
	}
	return true
}

// clone returns a ledger of its own, for a copy of the folder.
func (l *ledger) clone() *ledger {
	c := *l
	c.keys, c.pending, c.begun = maps.Clone(l.keys), maps.Clone(l.pending), maps.Clone(l.begun)
	c.past = make(map[string][]key)
	for id, states := range l.past {
		c.past[id] = slices.Clone(states)
	}
	return &c
}

// compare says what a sighting amounts to.
func (l *ledger) compare(s sighting) (outcome, detail string) {
	if s.Refused != "" {
		return refused, s.Refused
	}
	told := fmt.Sprint(s.Warnings)
	if s.Unlisted != "" {
		told += " listing: " + s.Unlisted
	}
	lost, back := 0, 0
	for id := range s.Keys {
		if _, known := l.keys[id]; !known && s.Keys[id].Damaged == "" && !l.underWay(s.Keys[id].Facts) {
			return altered, fmt.Sprintf("a key that nobody generated: %+v", s.Keys[id])
		}
	}
	for id := range l.keys {
		state, current, err := l.identify(id, s)
		if err != nil {
			return altered, err.Error()
		}
		if err := l.checkReasons(id, state, s); err != nil {
			return altered, err.Error()
		}
		if current || state == nil {
			continue
		}
		lost++
		if state.Facts.Revoked == 0 && l.keys[id].Facts.Revoked != 0 && !state.Gone {
			back++
		}
	}
	count := fmt.Sprintf("%d keys in an older state, %d of them not revoked any more; said: %s", lost, back, told)
	quiet := len(s.Warnings) == 0 && s.Unlisted == ""
	switch {
	case lost == 0:
		return nothingLost, told
	case !quiet:
		return lossSaid, count
	case back > 0:
		return unrevoked, count
	}
	return lossSilent, count
}

// underWay reports whether a key is one whose Generate was not acknowledged.
func (l *ledger) underWay(f facts) bool {
	for _, c := range l.begun {
		if c.Kind == doGenerate && c.Mark == f.Name {
			return true
		}
	}
	return false
}

// identify finds out which of its states a key is in, and whether that is one in
// which it may be. nil is a record that cannot be read, and says so.
func (l *ledger) identify(id string, s sighting) (state *key, current bool, err error) {
	found, there := s.Keys[id]
	if found.Damaged != "" || !there && s.Unlisted != "" {
		return nil, false, nil
	}
	matches := func(k key) bool {
		if k.Gone || !there {
			return k.Gone && !there
		}
		return k.at(l.now) == found.Facts
	}
	for _, k := range l.candidates(id) {
		if matches(k) {
			return &k, l.usedAt(id, found.LastUsed), nil
		}
	}
	for _, k := range slices.Backward(l.past[id]) {
		if matches(k) && (k.Gone || l.usedAt(id, found.LastUsed)) {
			return &k, false, nil
		}
	}
	if !there { // it is not generated yet
		return &key{Gone: true, Secrets: l.keys[id].Secrets}, false, nil
	}
	return nil, false, fmt.Errorf("key %s was never %+v, last used %d", id, found.Facts, found.LastUsed)
}

// usedAt reports whether a key was used at this time: Touch said so, or a
// lookup in some round.
func (l *ledger) usedAt(id string, at int64) bool {
	if at == 0 || (l.now-at)%roundLength.Milliseconds() == 0 && at <= l.now {
		return true
	}
	return slices.ContainsFunc(l.past[id], func(k key) bool { return k.LastUsed == at })
}

// checkReasons checks that lookups answer as the state in which a key was found
// demands, or that they fail.
func (l *ledger) checkReasons(id string, state *key, s sighting) error {
	for i, secret := range l.keys[id].Secrets {
		got := s.Reasons[id][i]
		if secret.Token == "" || got == keystore.ReasonUnavailable || got == keystore.ReasonCorrupt {
			continue
		}
		want := keystore.ReasonWrongSecret // it was issued later
		switch {
		case state == nil:
			want = keystore.ReasonCorrupt
		case state.Gone:
			want = keystore.ReasonUnknownKey
		case i < len(state.Secrets):
			want = state.reason(i, l.now)
		}
		if state == nil && !s.Accepted[id][i] {
			continue
		}
		if got != want {
			return fmt.Errorf("key %s, secret %d: lookup says %q, and should say %q", id, i+1, got, want)
		}
	}
	return nil
}
