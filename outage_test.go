package keystore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// proxied is a backend with a keystore behind it, whose errors it passes on.
type proxied struct {
	backend.Backend
	err error
}

func (p proxied) Get(context.Context, string) (backend.Record, error) { return backend.Record{}, p.err }

// TestAnOutageIsNoRefusalWhateverTheBackendWraps: README's switch would answer
// 401.
func TestAnOutageIsNoRefusalWhateverTheBackendWraps(t *testing.T) {
	ctx, store := context.Background(), memory.New()
	ks, err := keystore.New(store, nil)
	require.NoError(t, err)
	defer ks.Close()
	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	for _, ours := range []error{keystore.ErrRevoked, keystore.ErrNotFound, keystore.ErrState, keystore.ErrMissingScope, &keystore.FieldError{}} {
		broken, err := keystore.New(proxied{store, fmt.Errorf("remote: %w", ours)}, nil)
		require.NoError(t, err)
		_, lookupErr := broken.Lookup(ctx, token.Reveal())
		_, getErr := broken.Get(ctx, key.ID)
		for _, err := range []error{lookupErr, getErr} {
			require.ErrorIs(t, err, keystore.ErrUnavailable)
			require.NotErrorIs(t, err, ours)
			require.NotErrorIs(t, err, keystore.ErrUnauthenticated)
			require.ErrorContains(t, err, ours.Error())
		}
		require.NoError(t, broken.Close())
	}
}

func TestAClockThatIsNotSetRevivesNoSecret(t *testing.T) {
	ctx, now := context.Background(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ks, err := keystore.New(memory.New(), &keystore.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer ks.Close()
	leaked, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	_, _, err = ks.Rotate(ctx, key.ID, 0, nil)
	require.NoError(t, err)
	for _, now = range []time.Time{{}, time.Unix(-1, 0), time.Unix(0, 0), time.Unix(1, 0)} {
		_, err = ks.Lookup(ctx, leaked.Reveal())
		require.ErrorIs(t, err, keystore.ErrExpired, now)
	}
}

func TestPepperRingsThatDisagreeAreRefused(t *testing.T) {
	ring := func(fill string) keystore.Hasher {
		h, err := keystore.HMAC("1", map[string][]byte{"1": []byte(fmt.Sprintf("%032s", fill))})
		require.NoError(t, err)
		return h
	}
	_, err := keystore.New(memory.New(), &keystore.Options{Hash: ring("x"), AcceptHash: []keystore.Hasher{ring("y")}})
	require.ErrorIs(t, err, keystore.ErrInvalid)
	ks, err := keystore.New(memory.New(), &keystore.Options{Hash: ring("x"), AcceptHash: []keystore.Hasher{ring("x")}})
	require.NoError(t, err, "the same key twice is no harm")
	require.NoError(t, ks.Close())
}

func TestUpdateWithoutAFunctionIsInvalid(t *testing.T) {
	ks, err := keystore.New(memory.New(), nil)
	require.NoError(t, err)
	defer ks.Close()
	_, err = ks.Update(context.Background(), "0000000000000000", nil)
	require.ErrorIs(t, err, keystore.ErrInvalid)
}
