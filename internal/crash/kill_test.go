package crash

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was acknowledged before a SIGKILL is there after it, whole, and nothing
// that was revoked is accepted. The folder and the ledger stay from round to
// round.
func TestKill(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	dir := t.TempDir()
	l := newLedger()
	opened := 0
	for round := range sized(6, 200) {
		l.begin()
		killAtWork(t, dir, l, 60, random.Uint64(), 40+random.IntN(160))
		if random.IntN(3) == 0 {
			opened += killWhileOpening(t, dir, random)
		}
		check(t, dir, l)
		if round%2 == 1 {
			checkRaw(t, dir, l)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round+1)
		}
	}
	l.log(t)
	t.Logf("%d times the store was opened and closed before the kill came", opened)
	for _, kind := range []string{doGenerate, doUpdate, doRotate, doRotateGrace, doRevoke, doTouch, doDelete, doPurge} {
		assert.Positive(t, l.acknowledged[kind], "%s was exercised", kind)
	}
	purgeAll(t, dir, l)
}

// killAtWork starts a child that changes keys, up to most of which are old ones,
// kills it after some acknowledgements, and enters in the ledger all that it said.
func killAtWork(t *testing.T, dir string, l *ledger, most int, seed uint64, after int) {
	t.Helper()
	c := startChild(t, "work", dir)
	require.NoError(t, c.tell(job{Now: l.now, Seed: seed, Keys: l.toGoOnWith(most)}))
	count := 0
	for {
		var r report // a new one: decoding leaves what it does not find
		if !c.next(&r) {
			break
		}
		if l.note(t, r) {
			count++
		}
		if count == after {
			c.signal()
		}
	}
	err := c.wait()
	require.GreaterOrEqual(t, count, after, "the child ended by itself: %v: %s", err, c.stderr)
}

// killWhileOpening kills a child soon after it began to open and close the store
// again and again. It returns how many times the child was through with it.
func killWhileOpening(t *testing.T, dir string, random *rand.Rand) int {
	t.Helper()
	c := startChild(t, "open", dir)
	var r report
	require.True(t, c.next(&r), "%s", c.stderr)
	// No moment is wrong for it: the delay only spreads the kills.
	time.AfterFunc(time.Duration(random.IntN(250))*time.Millisecond, c.signal)
	opened := 0
	for c.next(&r) {
		opened++
	}
	_ = c.wait()
	require.Empty(t, c.stderr.String())
	return opened
}

// purgeAll checks that Purge in the far future leaves exactly what never ends.
func purgeAll(t *testing.T, dir string, l *ledger) {
	t.Helper()
	l.begin()
	l.now += (1000 * time.Hour).Milliseconds()
	l.due = 0
	for _, k := range l.keys {
		if k.due(l.now) {
			l.due++
		}
	}
	func() {
		b := openStore(t, "badger://"+dir)
		defer closeStore(t, b)
		purged, err := keystoreAt(t, b, l.now).Purge(testContext(t))
		require.NoError(t, err)
		assert.Equal(t, l.due, purged)
	}()
	l.purge, l.purged = acknowledged, l.due
	check(t, dir, l)
	checkRaw(t, dir, l)
	left := 0
	for _, k := range l.keys {
		if !k.Gone {
			left++
			assert.Zero(t, k.purgeAt())
		}
	}
	assert.Positive(t, left)
}

// Badger empties a file before it removes it. A kill between the two leaves an
// empty one, which must not keep the store from opening.
func TestKillWhileAFileIsRemoved(t *testing.T) {
	t.Parallel()
	random := newRand(t)
	dir := t.TempDir()
	l := newLedger()
	l.begin()
	killAtWork(t, dir, l, 0, random.Uint64(), 30)
	check(t, dir, l)
	for _, name := range []string{"00777.mem", "000777.vlog"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		check(t, dir, l)
	}
	checkRaw(t, dir, l)
}
