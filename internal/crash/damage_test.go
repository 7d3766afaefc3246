package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A damaged file never makes a record one that nobody wrote. What it loses of
// what was synced, the store says: it refuses to open, answers reads with errors,
// or warns.
func TestDamage(t *testing.T) {
	t.Parallel()
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, bytes.Repeat([]byte("k"), 32), 0o600))
	for name, query := range map[string]string{"plain": "", "encrypted": "?encryption_key_file=" + keyFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDamage(t, query)
		})
	}
}

// testDamage makes a store that was killed twice and then closed, and one that
// was killed once more, and damages both. query is that of the store's URL.
func testDamage(t *testing.T, query string) {
	random := newRand(t)
	dir := t.TempDir()
	l := newLedger()
	for range 2 {
		l.begin()
		killAtWork(t, dir+query, l, 8, random.Uint64(), 80)
		check(t, dir+query, l)
	}
	closed, closedLedger := snapshotOf(t, dir), l.clone()
	l.begin()
	killAtWork(t, dir+query, l, 8, random.Uint64(), 100)
	killed := snapshotOf(t, dir)

	t.Run("killed", func(t *testing.T) { tryDamages(t, killed, query, l, random) })
	if !long() { // the rest is as it is of a killed one
		maps.DeleteFunc(closed, func(name string, _ image) bool { return strings.HasSuffix(name, ".vlog") || name == "DISCARD" })
	}
	t.Run("closed", func(t *testing.T) { tryDamages(t, closed, query, closedLedger, random) })
}

// trial is one damage to one file, and what came of it.
type trial struct {
	file    string
	kind    string // of file
	damage  damage
	outcome string
	detail  string
}

// tryDamages damages a folder in many ways, one at a time.
func tryDamages(t *testing.T, s snapshot, query string, l *ledger, random *rand.Rand) {
	j := newJudges(t, query, l)
	undamaged := j.try(t, s, trial{damage: damage{kind: "none"}})
	require.Equal(t, nothingLost, undamaged.outcome, undamaged.detail)
	j.ordinary = j.warned // as the kill left it; that says nothing of a damage
	var trials []trial
	kinds := s.kindsOf()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		names := kinds[kind]
		if !long() {
			names = names[len(names)-1:]
		}
		for _, name := range names {
			for _, d := range damagesOf(s[name], random) {
				trials = append(trials, j.try(t, s, trial{file: name, kind: kind, damage: d}))
			}
		}
	}
	logTrials(t, trials)
	for _, one := range trials {
		assert.False(t, one.bad(), "%s, %s: %s: %s", one.file, one.damage, one.outcome, one.detail)
	}
}

// damagesOf are the damages to try on a file: some at the places that matter,
// and in the long form some anywhere in what it holds.
func damagesOf(f image, random *rand.Rand) []damage {
	end := int64(len(f.content))
	all := []damage{{kind: cut, place: "emptied"}, {kind: flip, place: "header", at: 10}}
	try := func(place string, at int64) {
		kinds := []string{cut, flip, zeroed, garbled}
		if first := random.IntN(len(kinds)); !long() { // one of them
			kinds = kinds[first : first+1]
		}
		for _, kind := range kinds {
			if at >= 0 && at < f.size {
				all = append(all, damage{kind: kind, place: place, at: at, bit: random.IntN(8)})
			}
		}
	}
	try("beginning", 0)
	try("middle", end/2)
	try("last 50 bytes", end-50)
	try("last bytes", end-3)
	try("behind the content", end+100)
	// Not nearer to the end: a log in which the last transaction is replaced by
	// zeros is one that was never longer. Nothing can tell of that loss, as the
	// documentation of the driver says.
	for range sized(0, 12) {
		try("anywhere", random.Int64N(max(end-600, 1)))
	}
	return all
}

// judges tries damages with a child that is started anew when it has ended.
type judges struct {
	ledger *ledger
	brief  string
	dir    string
	child  *child
	count  int

	warned   []string // in the last folder
	ordinary []string // warnings that do not count
}

func newJudges(t *testing.T, query string, l *ledger) *judges {
	t.Helper()
	j := &judges{ledger: l, dir: t.TempDir()}
	b := brief{Now: l.now, Query: query, Tokens: make(map[string][]string)}
	for id, k := range l.keys {
		for _, s := range k.Secrets {
			b.Tokens[id] = append(b.Tokens[id], s.Token)
		}
	}
	text, err := json.Marshal(b)
	require.NoError(t, err)
	j.brief = filepath.Join(j.dir, "brief.json")
	require.NoError(t, os.WriteFile(j.brief, text, 0o600))
	return j
}

// try does one damage and says what comes of it. Who finds that the store does
// not open will try again: that must not hide what the first attempt has said.
func (j *judges) try(t *testing.T, s snapshot, one trial) trial {
	t.Helper()
	j.count++
	dir := filepath.Join(j.dir, fmt.Sprint(j.count))
	s.write(t, dir, one.file, one.damage)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	one.outcome, one.detail = j.look(t, dir)
	if one.outcome != refused && one.outcome != processEnded {
		return one
	}
	if outcome, detail := j.look(t, dir); outcome != one.outcome {
		again := trial{outcome: outcome}
		one.detail += "; AT THE SECOND ATTEMPT " + outcome + ": " + detail
		if again.bad() {
			one.outcome = outcome
		}
	}
	return one
}

// look has a child look into a folder.
func (j *judges) look(t *testing.T, dir string) (outcome, detail string) {
	t.Helper()
	if j.child == nil {
		j.child = startChild(t, "judge", j.brief)
	}
	require.NoError(t, j.child.tell(dir))
	var found sighting
	if j.child.next(&found) {
		j.warned = found.Warnings
		found.Warnings = slices.DeleteFunc(slices.Clone(found.Warnings), func(w string) bool { return slices.Contains(j.ordinary, w) })
		if strings.Contains(found.Unlisted, context.DeadlineExceeded.Error()) {
			return hung, found.Unlisted
		}
		return j.ledger.compare(found)
	}
	err := j.child.wait()
	outcome, detail = processEnded, fmt.Sprintf("%v: %s", err, firstLines(j.child.stderr.String()))
	if strings.Contains(fmt.Sprint(err), "killed") { // by nobody but next
		outcome = hung
	}
	j.child = nil
	return outcome, detail
}

func firstLines(text string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
	return strings.Join(lines[:min(3, len(lines))], " | ")
}

// logTrials says what came of the damages: how often, and one example.
func logTrials(t *testing.T, trials []trial) {
	t.Helper()
	type row struct{ kind, damage, outcome string }
	count, example := make(map[row]int), make(map[row]string)
	for _, one := range trials {
		r := row{one.kind, one.damage.kind, one.outcome}
		count[r]++
		example[r] = fmt.Sprintf("%s, %s: %s", one.file, one.damage.place, one.detail)
	}
	rows := slices.SortedFunc(maps.Keys(count), func(a, b row) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, r := range rows {
		text := example[r]
		t.Logf("%-12s %-17s %4d  %-24s %s", r.kind, r.damage, count[r], r.outcome, text[:min(len(text), 300)])
	}
}
