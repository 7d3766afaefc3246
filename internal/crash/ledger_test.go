package crash

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger is the list of changes, in the process that checks. It outlives the
// processes that make them.
type ledger struct {
	now     int64
	keys    map[string]key    // by id: what was acknowledged
	past    map[string][]key  // by id: every state before that, and what may have become of it
	begun   map[int]change    // by number: without acknowledgement, in this round
	pending map[string]change // by id: the one of those that concerns the key
	purge   string            // what became of Purge in this round
	due     int               // keys that were due at its beginning
	purged  int               // keys that acknowledged Purges say they deleted

	acknowledged map[string]int // by kind, over all rounds
	happened     map[string]int // of the unclear ones: those that took effect
	vanished     map[string]int // and those that did not
}

// What became of Purge in a round.
const (
	notBegun     = ""
	unclear      = "unclear"
	acknowledged = "acknowledged"
)

func newLedger() *ledger {
	return &ledger{
		now:  time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC).UnixMilli(),
		keys: make(map[string]key), past: make(map[string][]key),
		acknowledged: make(map[string]int), happened: make(map[string]int), vanished: make(map[string]int),
	}
}

// begin begins a round: time moves on, and some keys become due.
func (l *ledger) begin() {
	l.now += roundLength.Milliseconds()
	l.begun, l.pending = make(map[int]change), make(map[string]change)
	l.purge, l.due, l.purged = notBegun, 0, 0
	for _, k := range l.keys {
		if k.due(l.now) {
			l.due++
		}
	}
}

// toGoOnWith picks keys for the next round's child.
func (l *ledger) toGoOnWith(most int) []key {
	var keys []key
	for _, id := range slices.Sorted(maps.Keys(l.keys)) {
		if k := l.keys[id]; !k.Gone && !k.due(l.now) {
			keys = append(keys, k)
		}
	}
	return keys[max(0, len(keys)-most):]
}

// note enters a line of the child, and reports whether it was an acknowledgement.
func (l *ledger) note(t *testing.T, r report) bool {
	t.Helper()
	if c := r.Intent; c != nil {
		l.begun[c.N] = *c
		for _, id := range c.IDs {
			l.pending[id] = *c
			// As far as anyone knows, it takes effect from here on.
			l.past[id] = append(l.past[id], l.keys[id].apply(*c, ""))
		}
		if c.Kind == doPurge && l.purge == notBegun {
			l.purge = unclear
		}
	}
	if r.Ack == nil {
		return false
	}
	c, found := l.begun[r.Ack.N]
	require.True(t, found, "an acknowledgement without an intent")
	delete(l.begun, c.N)
	l.acknowledged[c.Kind]++
	switch c.Kind {
	case doGenerate:
		l.set(generated(c, r.Ack.Facts.ID, r.Ack.Token))
		assert.Equal(t, l.keys[r.Ack.Facts.ID].at(l.now), r.Ack.Facts, "what Generate returned")
	case doPurge:
		// One goroutine purges: the first call deletes all that is due.
		l.purge = acknowledged
		l.purged += r.Ack.Purged
		assert.Equal(t, l.due, l.purged, "how many keys Purge says it deleted")
	default:
		for _, id := range c.IDs {
			delete(l.pending, id)
			k := l.keys[id].apply(c, r.Ack.Token)
			if r.Ack.Facts.ID != "" {
				assert.Equal(t, k.at(l.now), r.Ack.Facts, "what %s returned", c.Kind)
			}
			l.set(k)
		}
	}
	return true
}

func (l *ledger) set(k key) {
	l.past[k.Facts.ID] = append(l.past[k.Facts.ID], k)
	l.keys[k.Facts.ID] = k
}

// candidates are the states in which a key may be found: the one that was
// acknowledged, or the one after the change that was under way.
func (l *ledger) candidates(id string) []key {
	k := l.keys[id]
	if c, found := l.pending[id]; found {
		return []key{k, k.apply(c, "")}
	}
	if k.due(l.now) {
		gone := k.apply(change{Kind: doPurge}, "")
		switch l.purge {
		case unclear:
			return []key{k, gone}
		case acknowledged:
			return []key{gone}
		}
	}
	return []key{k}
}

// settle notes which of the candidates a key was found in.
func (l *ledger) settle(id string, k key, i, of int) {
	c, found := l.pending[id]
	if !found {
		c = change{Kind: doPurge} // of a key that was due
	}
	switch {
	case of == 1:
	case i == 0:
		l.vanished[c.Kind]++
	default:
		l.happened[c.Kind]++
	}
	delete(l.pending, id)
	l.set(k)
}

// adopt takes in a key whose Generate was not acknowledged.
func (l *ledger) adopt(f facts) bool {
	for n, c := range l.begun {
		if c.Kind == doGenerate && c.Mark == f.Name {
			delete(l.begun, n)
			l.set(generated(c, f.ID, ""))
			l.happened[c.Kind]++
			return true
		}
	}
	return false
}

// close ends a round: a Generate that has not happened by now never will.
func (l *ledger) close() {
	for _, c := range l.begun {
		if c.Kind == doGenerate {
			l.vanished[c.Kind]++
		}
	}
	clear(l.begun)
}

// log says what was counted.
func (l *ledger) log(t *testing.T) {
	t.Helper()
	sum := func(m map[string]int) (n int) {
		for _, v := range m {
			n += v
		}
		return n
	}
	t.Logf("acknowledged: %d changes %v", sum(l.acknowledged), l.acknowledged)
	t.Logf("unclear at a kill: %d took effect %v, %d did not %v", sum(l.happened), l.happened, sum(l.vanished), l.vanished)
}
