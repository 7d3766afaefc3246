package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// A LimitState has a Limit inside, and must not print as that alone.
func TestLimitStateInText(t *testing.T) {
	state := LimitState{perDay, 93, testNoon.Add(12 * time.Hour)}
	text, err := json.Marshal(Result{Limits: []LimitState{state}}.Limits)
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"day","requests":100,"window_seconds":86400,"remaining":93,"reset":"`+state.Reset.Format(time.RFC3339)+`"}]`, string(text))
	var back []LimitState
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, []LimitState{state}, back)
	require.Equal(t, "93 of day 100/24h until "+state.Reset.Format(time.RFC3339), fmt.Sprint(state))
	for _, bad := range []string{`{}`, `{"name":"day","requests":0,"window_seconds":1}`, `{"name":"day","requests":1,"window_seconds":-1}`} {
		require.ErrorIs(t, json.Unmarshal([]byte(bad), &state), ErrInvalid)
	}
	require.Error(t, json.Unmarshal([]byte(`{"remaining":"many"}`), &state))
	require.EqualValues(t, 93, state.Remaining, "what cannot be read changes nothing")
}

// Callers that give up at once cannot make the keystore believe that the store
// fails, and so pass unchecked.
func TestHastyCallersDoNotOpenTheBreaker(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.LimitFailure = LimitsOpen })
	token, _ := f.generate(KeyParams{Limits: []Limit{{"day", 1, 24 * time.Hour}}})
	f.pass(token, 1)
	for range 2 * breakAfter {
		late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		_, err := f.LookupWith(late, token.Reveal(), LookupParams{})
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
	}
	f.limited(token, LookupParams{})
}

// Callers with less patience than OpTimeout open it all the same, while the store
// hangs: they have waited.
func TestCallersThatWaitedOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.LimitFailure, o.UsageInterval = LimitsOpen, Never })
		token, _ := f.generate(KeyParams{Limits: []Limit{perDay}})
		f.pass(token, 1)
		f.store.spend = func(ctx context.Context, _ backend.Spend) (backend.Spent, error) {
			<-ctx.Done()
			return backend.Spent{}, ctx.Err()
		}
		for range breakAfter {
			hasty, cancel := context.WithTimeout(context.Background(), breakPatience)
			_, err := f.LookupWith(hasty, token.Reveal(), LookupParams{})
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		began := time.Now()
		result, err := f.lookup(token, LookupParams{})
		require.NoError(t, err)
		require.True(t, result.LimitsUnchecked)
		require.Zero(t, time.Since(began))
	})
}

// countlessBackend cannot tell its counts.
type countlessBackend struct{ *spyBackend }

func (countlessBackend) Counts(context.Context, string, []backend.Window) ([]int64, error) {
	return nil, errors.New("down")
}

// Peek leaves no trace, also where the store fails.
func TestPeekWhileTheStoreFails(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay}})
	for _, policy := range []LimitFailure{LimitsClosed, LimitsOpen} {
		ks, err := New(countlessBackend{f.store}, &Options{Prefix: "sk_test", Now: f.clock.now, LimitFailure: policy})
		require.NoError(t, err)
		for range 2 * breakAfter {
			result, err := ks.Peek(ctx, token.Reveal(), LookupParams{})
			if policy == LimitsClosed {
				require.ErrorIs(t, err, ErrUnavailable)
				require.Equal(t, Result{}, result)
				continue
			}
			require.NoError(t, err)
			require.True(t, result.LimitsUnchecked)
		}
		require.Zero(t, ks.Stats().Unchecked)
		spends := f.store.spends.Load()
		_, err = ks.Lookup(ctx, token.Reveal())
		require.NoError(t, err)
		require.Equal(t, spends+1, f.store.spends.Load(), "that peeks fail says nothing of spends")
		require.NoError(t, ks.Close())
	}
	require.Equal(t, map[string]int64{"day": 98}, f.left(key.ID))
}
