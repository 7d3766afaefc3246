package history

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/keystore"
)

// actions is how many a sequence has on average.
const actions = 40

// TestSequences: whatever the sequence of calls, times and restarts, each answer
// is the model's, and so are all keys after each call. Rapid leaves a failure,
// shrunk, in testdata/rapid, and begins the next run with it: delete it when it
// is mended, or make a test of it.
func TestSequences(t *testing.T) {
	for _, s := range servers {
		if s.durable == nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			setRapid(t, "rapid.seed", "RAPID_SEED", strconv.FormatUint(testSeed(t), 10))
			setRapid(t, "rapid.checks", "RAPID_CHECKS", strconv.Itoa(times(s.sequences)))
			setRapid(t, "rapid.steps", "RAPID_STEPS", strconv.Itoa(actions))
			server := s.durable(t)
			stores, acted, ended := 0, 0, make(map[verdict]int)
			rapid.Check(t, func(t *rapid.T) {
				stores++
				w := newWorld(t, server, fmt.Sprintf("sequence-%d", stores), ended)
				defer func() { w.close(t) }()
				all := rapid.StateMachineActions(w)
				check := all[""]
				all[""] = func(t *rapid.T) { acted++; check(t) }
				all["Advance more"], all["LookupOfAll more"] = w.Advance, w.LookupOfAll
				t.Repeat(all)
			})
			acted -= stores // the checks before the first action
			t.Logf("%d sequences, %d actions: %v", stores, acted, ended)
			if acted < enough {
				return
			}
			for _, v := range met {
				require.Positive(t, ended[v], "calls that end with %q are met", v)
			}
		})
	}
}

// enough is how many actions meet all of these.
const enough = 20_000

var met = []verdict{
	done, notFound, badState, invalid, conflict, stopped, "unknown_key", "wrong_secret", "malformed", "unknown_prefix",
	"revoked", "disabled", "superseded", "expired", "owner_inactive", "missing_scope", "invalid_scope",
}

// Advance moves the clock, now and then far enough for a purge.
func (w *world) Advance(t *rapid.T) {
	by := rapid.SampledFrom([]int64{0, 1, 5, 20, 60, 400}).Draw(t, "milliseconds")
	w.now += by
	w.setClock(t)
}

// SetBack moves the clock back a little, as a correction of it does.
func (w *world) SetBack(t *rapid.T) {
	seldom(t, 3)
	w.now = max(start, w.now-rapid.Int64Range(1, 20).Draw(t, "milliseconds"))
	w.setClock(t)
}

func (w *world) setClock(t *rapid.T) {
	w.part = time.Duration(rapid.SampledFrom([]int{0, 1, 999_999}).Draw(t, "part of a millisecond"))
	w.clock.set(w.now, w.part)
}

// SwitchOwner lets an owner's keys work no more, or again.
func (w *world) SwitchOwner(t *rapid.T) {
	seldom(t, 3)
	owner := rapid.SampledFrom(owners).Draw(t, "owner")
	w.idle[owner] = !w.idle[owner]
}

// Reopen closes the keystore, perhaps restarts the server, and opens a keystore
// that may give new tokens another prefix.
func (w *world) Reopen(t *rapid.T) {
	seldom(t, 2)
	old := w.ks
	w.close(t)
	_, err := old.Get(w.ctx, "0000000000000000")
	require.ErrorIs(t, err, keystore.ErrClosed)
	if chance(t, 4, "restart") {
		w.server.restart(t)
	}
	w.rules.prefix, w.rules.accept = "ks", nil
	switch rapid.SampledFrom([]string{"ks", "ks", "ks", "both", "both", "another"}).Draw(t, "prefix") {
	case "both":
		w.rules.prefix, w.rules.accept = "ks_test", []string{"ks"}
	case "another":
		w.rules.prefix = "ks_test"
	}
	w.open(t)
}
