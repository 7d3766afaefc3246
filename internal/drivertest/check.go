package drivertest

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// Check stops the load and compares all that is stored with the ledger, through a
// handle that nothing is broken for any more. It returns what came of the load.
func (l *Load) Check(b backend.Backend) Tally {
	l.t.Helper()
	l.Stop()
	s := newKeystore(l.t, b)
	there := make(map[string]bool)
	for _, c := range l.shared {
		l.checkCounter(s, c)
		there[c.id] = true
	}
	for _, w := range l.workers {
		for _, e := range w.entries {
			l.checkEntry(s, e)
			there[e.id] = e.now.there
			if e.happened {
				l.tally.Happened++
			}
		}
	}
	for key, err := range s.All(testContext(l.t), "") {
		require.NoError(l.t, err)
		assert.True(l.t, there[key.ID], "a listed key that was never made, or is gone: %s", key.ID)
		delete(there, key.ID)
	}
	for id, is := range there {
		assert.False(l.t, is, "a key that is there is not listed: %s", id)
	}
	if l.wrong > wordedWrong {
		l.t.Errorf("%d wrong answers in all", l.wrong)
	}
	l.t.Logf("%v", l.tally)
	return l.tally
}

// checkEntry looks at a key in every way. There is an answer in the end.
func (l *Load) checkEntry(s *keystore.Keystore, e *entry) {
	l.t.Helper()
	look := func(what func(ctx context.Context, s *keystore.Keystore) (bool, string, error)) {
		l.t.Helper()
		require.Eventually(l.t, func() bool {
			answered, loss, wrong := what(testContext(l.t), s)
			l.problem(wrong)
			l.lost(loss, e)
			return answered
		}, patience, time.Millisecond, "the store is available again")
	}
	look(e.get)
	for g := range e.tokens {
		if g <= max(e.now.generation, 1) { // else it is of a rotation that did not happen, or is lost
			look(func(ctx context.Context, s *keystore.Keystore) (bool, string, error) { return e.lookup(ctx, s, g) })
		}
	}
}

func (l *Load) checkCounter(s *keystore.Keystore, c *counter) {
	l.t.Helper()
	key, err := s.Get(testContext(l.t), c.id)
	require.NoError(l.t, err)
	assert.NoError(l.t, c.check(key))
	n, err := strconv.Atoi(key.Name)
	require.NoError(l.t, err)
	what := fmt.Sprintf("a shared key counts %d after %d acknowledged changes and %d unknown ones", n, c.acknowledged, c.unknown)
	assert.LessOrEqual(l.t, n, c.acknowledged+c.unknown, what)
	if l.lossy && n < c.acknowledged {
		l.tally.Lost["count"] += c.acknowledged - n
		return
	}
	assert.GreaterOrEqual(l.t, n, c.acknowledged, what)
}
