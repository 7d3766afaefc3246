package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// damage makes the tallies of a subject such as cannot be added to, and counts calls.
func damage(f *fixture, subject string) (calls *int) {
	calls = new(int)
	f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
		*calls++
		var sound []backend.Addition
		for _, a := range additions {
			if a.Subject != subject {
				sound = append(sound, a)
			}
		}
		err := f.store.Backend.AddUsage(ctx, sound)
		if err == nil && len(sound) < len(additions) {
			return fmt.Errorf("%w: that of a test", backend.ErrDamagedTally)
		}
		return err
	}
	return calls
}

// One tally that cannot be added to holds nothing up: neither what is counted with
// it, nor what is counted later. Each flush that meets it says so, once, as does Close.
func TestUsageOfADamagedTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := newFixture(t, func(o *Options) {
			o.UsageInterval = time.Minute
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		bad, badKey := f.generate(KeyParams{})
		good, goodKey := f.generate(KeyParams{})
		calls := damage(f, keySubject+badKey.ID)
		for round := range 3 {
			f.pass(bad, 2)
			f.pass(good, 1)
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, round+1, strings.Count(log.String(), "\n"), log.String())
			require.Equal(t, round+1, *calls, "it is not repeated")
		}
		require.Contains(t, log.String(), "level=WARN")
		require.Contains(t, log.String(), backend.ErrDamagedTally.Error()+": that of a test")

		f.pass(good, 1)
		require.EqualValues(t, 4, usage(t, f.Keystore, goodKey.ID)[0].Allowed)
		require.EqualValues(t, 10, all(t, f.OwnerUsage(context.Background(), "alice", time.Time{}, time.Time{}))[0].Allowed)
		require.Empty(t, usage(t, f.Keystore, badKey.ID))
		require.Equal(t, 3, strings.Count(log.String(), "\n"), "nothing was for it")

		f.pass(bad, 1)
		f.pass(good, 1)
		err := f.Close()
		require.ErrorIs(t, err, backend.ErrDamagedTally)
		require.ErrorContains(t, err, "of how many lookups is not known")
		require.NotErrorIs(t, err, ErrUnavailable)
		require.Zero(t, f.Stats().UsageLost)
		tallies, err := f.store.Usage(context.Background(), keySubject+goodKey.ID, testNoon.Truncate(day), testNoon)
		require.NoError(t, err)
		require.EqualValues(t, 5, hoursOf(tallies[0])[0].Allowed)
	})
}

// Damage in one batch keeps none of the others from being written, and is told once.
func TestUsageOfADamagedTallyInManyBatches(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	calls := damage(f, ownerSubject+"alice")
	for round := range 2 {
		for i := range 3 * usageBatch {
			owner := []string{"alice", "bob"}[i%2]
			f.count(&Key{ID: fmt.Sprintf("%016d", i), Owner: owner}, f.now(), countAllowed, 1, nil)
		}
		require.NoError(t, f.flushUsage(context.Background(), Never))
		require.Equal(t, 4*(round+1), *calls)
		require.Equal(t, round+1, strings.Count(log.String(), "\n"))
	}
	for i := 0; i < 3*usageBatch; i += 50 { // some of each batch
		require.EqualValues(t, 2, usage(t, f.Keystore, fmt.Sprintf("%016d", i))[0].Allowed)
	}
	require.Len(t, all(t, f.OwnerUsage(context.Background(), "bob", time.Time{}, time.Time{})), 1)
	require.ErrorIs(t, f.Close(), backend.ErrDamagedTally)
}

// An outage besides is one: what is not known to be written is repeated, counts once,
// and is counted if it is lost in the end.
func TestUsageOfADamagedTallyInAnOutage(t *testing.T) {
	f := newFixture(t)
	bad, badKey := f.generate(KeyParams{})
	good, goodKey := f.generate(KeyParams{})
	damage(f, keySubject+badKey.ID)
	add := f.store.addUsage
	outage := errors.New("the line is cut")
	cut := func(ctx context.Context, additions []backend.Addition) error {
		_ = add(ctx, additions)
		return outage
	}
	f.pass(bad, 1)
	f.pass(good, 3)
	f.store.addUsage = cut
	require.ErrorIs(t, f.flushUsage(context.Background(), Never), outage)
	f.store.addUsage = add
	require.EqualValues(t, 3, usage(t, f.Keystore, goodKey.ID)[0].Allowed)

	f.pass(good, 7)
	f.store.addUsage = cut
	err := f.Close()
	require.ErrorContains(t, err, "usage of 7 lookups was lost, or may be counted already")
	require.ErrorContains(t, err, "of how many lookups is not known")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, outage)
	require.ErrorIs(t, err, backend.ErrDamagedTally)
}
