package stores_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/benchmarks/internal/stores"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Tokens that are made up are refused for the reason that they are made for, and
// those of the store are accepted.
func TestTokens(t *testing.T) {
	for _, kind := range stores.Kinds {
		t.Run(kind, func(t *testing.T) {
			s := stores.Open(t, kind, 150)
			require.Len(t, s.Tokens, 150)
			ks := s.Keystore(keystore.Options{CacheSize: -1})
			token := s.Tokens[7]
			key, err := ks.Lookup(t.Context(), token, stores.Scope)
			require.NoError(t, err)
			assert.Equal(t, stores.ID(token), key.ID)
			for reason, wrong := range map[keystore.Reason]string{
				keystore.ReasonMalformed:   stores.Malformed(token),
				keystore.ReasonUnknownKey:  stores.Unknown(token),
				keystore.ReasonWrongSecret: stores.WrongSecret(token),
			} {
				_, err := ks.Lookup(t.Context(), wrong, stores.Scope)
				var refused *keystore.LookupError
				require.ErrorAs(t, err, &refused)
				assert.Equal(t, reason, refused.Reason)
			}
			_, err = ks.Lookup(t.Context(), token, stores.OtherScope)
			require.ErrorIs(t, err, keystore.ErrMissingScope)
		})
	}
}

// The bare operations do what they are said to do.
func TestBare(t *testing.T) {
	for _, kind := range stores.Kinds {
		t.Run(kind, func(t *testing.T) {
			s := stores.Open(t, kind, 10)
			read, err := s.Bare.Reader([]string{stores.ID(s.Tokens[3]), stores.ID(stores.Unknown(s.Tokens[3]))})
			require.NoError(t, err)
			n, err := read(0)
			require.NoError(t, err)
			assert.Greater(t, n, 150)
			n, err = read(1)
			require.NoError(t, err)
			assert.Zero(t, n)

			page := func() int {
				n, err := s.Bare.Page("alice", 3)
				require.NoError(t, err)
				return n
			}
			assert.Zero(t, page())
			require.Error(t, s.Bare.Replace("1", "alice", []byte("new")))
			for i := range 5 {
				require.NoError(t, s.Bare.Put(fmt.Sprint(i), "alice", []byte("value")))
				require.NoError(t, s.Bare.Put(fmt.Sprint("bob", i), "bob", []byte("value")))
			}
			assert.Equal(t, 3, page())
			require.NoError(t, s.Bare.Replace("1", "alice", []byte("new")))
			assert.Equal(t, 3, page())
			require.NoError(t, s.Bare.Delete("alice", []string{"0", "1", "3"}))
			assert.Equal(t, 2, page())
			require.Error(t, s.Bare.Replace("1", "alice", []byte("new")))
		})
	}
}
