package limits

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// A great many spent windows are purged while lookups go on: all of them go away,
// and not one lookup fails or is miscounted. How long lookups take meanwhile, and
// before, is logged.
func TestPurgeUnderLookups(t *testing.T) {
	spent := sized(20_000, 1_000_000)
	for _, s := range stores {
		n := spent
		switch s.name {
		case "memory", "badger":
		case "redis":
			n = sized(5_000, spent)
		default:
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			if !long() {
				t.Parallel() // else the figures would be of other tests, too
			}
			purge(t, s.start(t), n)
		})
	}
}

func purge(t *testing.T, s store, spent int) {
	clock := new(clock)
	clock.set(noon.UnixMilli(), true)
	b, err := s.open(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	keys, err := keystore.New(b, &keystore.Options{
		Now: clock.now, OpTimeout: patience, PurgeInterval: keystore.Never, TouchInterval: keystore.Never, UsageInterval: keystore.Never,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, keys.Close()) }()
	counter := b.(backend.Counter)
	fillSpent(t, counter, spent)
	const most = 1_000_000_000
	token, key, err := keys.Generate(t.Context(), keystore.KeyParams{Owner: "owner", Limits: []keystore.Limit{limit("day", most, 24*time.Hour), limit("minute", most, time.Minute)}})
	require.NoError(t, err)

	// Lookups and purge take turns in one run, so that both meet the same machine.
	look := func(until <-chan struct{}) []time.Duration { return lookUpUntil(t, keys, token.Reveal(), until) }
	quiet := make(chan struct{})
	time.AfterFunc(sized(100*time.Millisecond, 5*time.Second), func() { close(quiet) })
	before := look(quiet)

	var during []time.Duration
	done := make(chan struct{})
	var lookups sync.WaitGroup
	lookups.Go(func() { during = look(done) })
	began := time.Now()
	_, err = keys.Purge(t.Context())
	took := time.Since(began)
	close(done)
	lookups.Wait()
	require.NoError(t, err)

	left, err := counter.PurgeCounts(t.Context(), noon.Add(-time.Hour), spent)
	require.NoError(t, err)
	require.Zero(t, left, "spent windows that Purge left")
	for _, n := range []int{0, spent / 2, spent - 1} {
		counts, err := counter.Counts(t.Context(), spentID(n), []backend.Window{spentWindow})
		require.NoError(t, err)
		require.Equal(t, []int64{0}, counts)
	}
	states, err := keys.LimitsOf(t.Context(), key.ID)
	require.NoError(t, err)
	require.EqualValues(t, most-len(before)-len(during), states[0].Remaining, "lookups that were miscounted")
	t.Logf("%d purged in %v, %.0f a second", spent, took.Round(time.Millisecond), float64(spent)/took.Seconds())
	t.Logf("lookups before: %s", spread(before))
	t.Logf("lookups during: %s", spread(during))
}

// lookUpUntil looks the token up from several goroutines, and returns how long each
// lookup took.
func lookUpUntil(t *testing.T, keys *keystore.Keystore, token string, until <-chan struct{}) []time.Duration {
	const callers = 4
	took, failures := make([][]time.Duration, callers), make([]error, callers)
	var wait sync.WaitGroup
	for c := range callers {
		wait.Go(func() {
			for {
				began := time.Now()
				_, err := keys.Lookup(context.Background(), token)
				took[c] = append(took[c], time.Since(began))
				if failures[c] = err; err != nil {
					return
				}
				rest := time.NewTimer(time.Millisecond) // or the lookups alone would be all that the machine can do
				select {
				case <-rest.C:
				case <-until:
					rest.Stop()
					return
				}
			}
		})
	}
	wait.Wait()
	for _, err := range failures {
		if err != nil {
			t.Errorf("a lookup: %v", err)
		}
	}
	return slices.Concat(took...)
}

func spread(took []time.Duration) string {
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[(len(took)-1)*percent/100].Round(time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, longest %v of %d", at(50), at(99), at(100), len(took))
}

// spentWindow has ended an hour before noon.
var spentWindow = backend.Window{Name: "hour", Length: time.Hour, Start: noon.Add(-2 * time.Hour), Max: 100}

func spentID(n int) string { return fmt.Sprintf("%016d", n) }

// fillSpent makes keys' counts, each of one window that has ended.
func fillSpent(t *testing.T, counter backend.Counter, keys int) {
	t.Helper()
	const fillers = 256
	failures := make([]error, fillers)
	var wait sync.WaitGroup
	for f := range fillers {
		wait.Go(func() {
			for n := f; n < keys && failures[f] == nil; n += fillers {
				_, failures[f] = counter.Spend(context.Background(), backend.Spend{
					ID: spentID(n), SpendID: rand.Uint64(), Cost: 1, Windows: []backend.Window{spentWindow},
				})
			}
		})
	}
	wait.Wait()
	for _, err := range failures {
		require.NoError(t, err)
	}
}
