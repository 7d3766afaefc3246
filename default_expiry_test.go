package keystore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/memory"
)

// TestDefaultExpiry is when a key made at that moment expires.
func TestDefaultExpiry(t *testing.T) {
	for _, ttl := range []time.Duration{0, Never, time.Hour} {
		s, err := New(memory.New(), &Options{DefaultTTL: ttl, Now: func() time.Time { return testNoon }})
		require.NoError(t, err)
		_, k, err := s.Generate(t.Context(), KeyParams{Owner: "a"})
		require.NoError(t, err)
		require.Equal(t, k.ExpiresAt, s.DefaultExpiry())
		require.NoError(t, s.Close())
	}
}
