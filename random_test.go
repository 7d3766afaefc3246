package keystore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

func TestAFailingRandomSourceMakesNoKey(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	old, key := f.generate(KeyParams{})
	stored := f.stored(key.ID)
	real := rand.Reader
	defer func() { rand.Reader = real }()
	for name, c := range map[string]struct {
		readings int
		make     func() (Token, Key, error)
	}{
		"generate": {3, func() (Token, Key, error) { return f.Generate(ctx, KeyParams{Owner: "bob"}) }}, // id, secret, write id
		"rotate":   {2, func() (Token, Key, error) { return f.Rotate(ctx, key.ID, time.Hour, nil) }},
	} {
		for n := range c.readings {
			rand.Reader = &failingOnce{real, n}
			token, made, err := c.make()
			require.ErrorIs(t, err, errNoRandom, "%s, after %d readings", name, n)
			require.True(t, token.IsZero())
			require.Equal(t, Key{}, made)
			require.Equal(t, stored, f.stored(key.ID))
			keys, _, err := f.List(ctx, ListParams{Owner: "bob"})
			require.NoError(t, err)
			require.Empty(t, keys)
			require.True(t, f.works(old))
		}
	}
	for name, make := range map[string]func() error{
		"generate": func() error { _, _, err := f.Generate(ctx, KeyParams{Owner: "carol"}); return err },
		"rotate":   func() error { _, _, err := f.Rotate(ctx, key.ID, time.Hour, nil); return err },
	} {
		rand.Reader = &failingOnce{real, 100}
		require.NoError(t, make(), name)
	}
}

func TestASlowRandomSourceIsReadToTheEnd(t *testing.T) {
	f := newFixture(t)
	withRandom(t, iotest.OneByteReader(rand.Reader))
	token, _ := f.generate(KeyParams{})
	require.True(t, f.works(token))
}

func TestATakenIDIsDrawnAnewThreeTimes(t *testing.T) {
	ctx := context.Background()
	for taken, want := range []error{nil, nil, nil, ErrUnavailable} {
		f := newFixture(t)
		var ids []string
		f.store.create = func(ctx context.Context, r backend.Record) error {
			if ids = append(ids, r.ID); len(ids) <= taken {
				return backend.ErrExists
			}
			return f.store.Backend.Create(ctx, r)
		}
		token, _, err := f.Generate(ctx, KeyParams{Owner: "alice"})
		require.ErrorIs(t, err, want)
		require.Len(t, ids, min(taken+1, 3))
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), len(ids), "each id is another")
		require.Equal(t, want == nil, !token.IsZero())
	}
}

// chiSquareLimit is what a chi-square of 61 degrees of freedom exceeds with a
// probability below 1e-9 (Wilson and Hilferty's approximation at 6.1 sigma).
const chiSquareLimit = 155

// chiSquare of how often each character of the alphabet occurs in text.
func chiSquare(text []byte) float64 {
	var counts [256]float64
	for _, c := range text {
		counts[c]++
	}
	want, sum := float64(len(text))/62, 0.0
	for i := range alphabet {
		d := counts[alphabet[i]] - want
		sum += d * d / want
	}
	return sum
}

func TestSecretsAreUniform(t *testing.T) {
	const tokens = 31_250 // of 32 characters: a million
	all := make([]byte, 0, tokens*secretLen)
	for range tokens {
		token, err := newToken("ks", "0123456789abcdef")
		require.NoError(t, err)
		all = append(all, secretOf(token)...)
	}
	require.Len(t, all, 1_000_000)
	require.Less(t, chiSquare(all), float64(chiSquareLimit))
	for position := range secretLen {
		var column []byte
		for i := position; i < len(all); i += secretLen {
			column = append(column, all[i])
		}
		require.Less(t, chiSquare(column), float64(chiSquareLimit), "position %d", position)
	}

	biased := make([]byte, 1_000_000) // what a plain byte % 62 gives
	_, err := rand.Read(biased)
	require.NoError(t, err)
	for i := range biased {
		biased[i] = alphabet[biased[i]%62]
	}
	require.Greater(t, chiSquare(biased), float64(chiSquareLimit), "the measure sees a bias")
}

func TestAMillionIDsDoNotCollide(t *testing.T) {
	withRandom(t, bufio.NewReaderSize(rand.Reader, 1<<16)) // the same bytes in fewer calls
	ids := make([][idLen]byte, 1_000_000)
	for i := range ids {
		id, err := newID(time.Now())
		if err != nil || !validID(id) {
			t.Fatalf("%q, %v", id, err)
		}
		copy(ids[i][:], id)
	}
	slices.SortFunc(ids, func(a, b [idLen]byte) int { return bytes.Compare(a[:], b[:]) })
	for i := range ids[1:] {
		if ids[i] == ids[i+1] {
			t.Fatalf("%s was drawn twice", ids[i])
		}
	}
}

func TestIDsSortByTimeOfCreation(t *testing.T) {
	times := []time.Time{
		firstTime, firstTime.Add(time.Millisecond), time.UnixMilli(61), time.UnixMilli(62), time.UnixMilli(62*62 - 1), time.UnixMilli(62 * 62),
		time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC), testNoon, testNoon.Add(time.Millisecond), testNoon.AddDate(0, 0, 1),
		time.Date(2106, 2, 7, 6, 28, 16, 0, time.UTC), time.Date(8888, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(8888, 12, 1, 0, 0, 0, 0, time.UTC),
	}
	last := ""
	for _, at := range append(times, lastTime.Add(-time.Millisecond), lastTime) {
		id, err := newID(at)
		require.NoError(t, err)
		require.Greater(t, id, last, "at %v", at)
		last = id
	}
}

func TestAClockThatGoesBackNeverCollides(t *testing.T) {
	f := newFixture(t)
	tokens := map[string]Token{}
	for range 1000 {
		token, key := f.generate(KeyParams{})
		tokens[key.ID] = token
		f.clock.add(-time.Millisecond / 2)
	}
	require.Len(t, tokens, 1000)
	for id, token := range tokens {
		key, err := f.Lookup(context.Background(), token.Reveal())
		require.NoError(t, err)
		require.Equal(t, id, key.ID)
	}
}

func TestAClockOutsideItsYearsMakesNoKey(t *testing.T) {
	f := newFixture(t)
	for _, at := range []time.Time{
		{}, time.Unix(-1<<40, 0), firstTime.Add(-1), firstTime.Add(-time.Millisecond), lastTime.Add(time.Millisecond),
		time.Date(8889, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<40, 0),
	} {
		f.clock.set(at)
		token, _, err := f.Generate(context.Background(), KeyParams{Owner: "alice"})
		requireField(t, err, "clock")
		require.True(t, token.IsZero())
	}
	require.Zero(t, f.store.calls.Load())
}
