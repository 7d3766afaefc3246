package keystore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// TestConcurrentWritersUnderRandomFaultsAreAccountedFor: 16 writers, and every
// call is in the history as often as its caller was told.
func TestConcurrentWritersUnderRandomFaultsAreAccountedFor(t *testing.T) {
	seed := testSeed(t)
	var late faulty.Late
	arrive := faulty.Around(func() { late.Deliver() }, nil)
	log := newHistory(memory.New())
	store := faulty.New(log, faulty.Random(seed, 0.4,
		faulty.Refuse(errInjected), faulty.Refuse(context.DeadlineExceeded), faulty.Refuse(backend.ErrNotApplied),
		faulty.LoseReply(errInjected), faulty.LoseReply(context.DeadlineExceeded),
		faulty.Repeat(nil), late.Again, late.Delay(errInjected), arrive, arrive))
	ks := newStoreOn(t, store, keystore.Options{})
	plain := newStoreOn(t, log, keystore.Options{})
	const calls = 30
	var mu sync.Mutex
	type end struct {
		outcome
		token keystore.Token
	}
	updates, rotations, creations := map[string]end{}, map[int]end{}, map[string]end{}
	ended := map[outcome]int{}
	_, key := generate(t, plain)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			for n := range calls {
				name := fmt.Sprintf("%d.%d", i, n)
				_, err := ks.Update(t.Context(), key.ID, increment(name))
				rotated, k, rotateErr := ks.Rotate(t.Context(), key.ID, 0, nil)
				created, _, createErr := ks.Generate(t.Context(), keystore.KeyParams{Owner: name})
				mu.Lock()
				updates[name] = end{outcomeOf(err), keystore.Token{}}
				if rotateErr == nil {
					rotations[k.Generation] = end{succeeded, rotated}
				}
				creations[name] = end{outcomeOf(createErr), created}
				for _, err := range []error{err, rotateErr, createErr} {
					ended[outcomeOf(err)]++
					if err != nil && !isAny(err, keystore.ErrUnavailable, keystore.ErrConflict) {
						t.Errorf("call %s: %v", name, err)
					}
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("of %d calls: %v", 3*racers*calls, ended)
	require.Positive(t, ended[unclear])
	require.Positive(t, ended[failed])
	late.Deliver()

	versions := log.of(t, key.ID)
	seen := map[string]int{}
	made := map[int]bool{}
	for i, v := range versions[1:] {
		if generation := v.Secrets[0].Generation; generation > versions[i].Secrets[0].Generation {
			require.Equal(t, versions[i].Secrets[0].Generation+1, generation)
			made[generation] = true
			continue
		}
		seen[v.metadata("call")]++
	}
	total := 0
	for name, u := range updates {
		total += seen[name]
		switch u.outcome {
		case succeeded:
			require.Equal(t, 1, seen[name], "update %s succeeded", name)
		case failed:
			require.Zero(t, seen[name], "update %s failed", name)
		default:
			require.LessOrEqual(t, seen[name], 1, "the outcome of update %s is unknown", name)
		}
	}
	last, err := plain.Get(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, total, counter(last))
	for generation, r := range rotations {
		require.True(t, made[generation], "rotation to generation %d was lost", generation)
		if generation == last.Generation {
			_, err := plain.Lookup(t.Context(), r.token.Reveal())
			require.NoError(t, err)
		}
	}
	owners := map[string]int{}
	for k, err := range plain.All(t.Context(), "") {
		require.NoError(t, err)
		owners[k.Owner]++
	}
	for name, c := range creations {
		require.Equal(t, c.outcome == failed, c.token.IsZero())
		switch c.outcome {
		case succeeded:
			require.Equal(t, 1, owners[name])
			_, err := plain.Lookup(t.Context(), c.token.Reveal())
			require.NoError(t, err)
		case failed:
			require.Zero(t, owners[name])
		default:
			require.LessOrEqual(t, owners[name], 1)
		}
	}
}
