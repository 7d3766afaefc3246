package server

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	_ "example.com/keystore/redis"

	"example.com/keystore/internal/testserver"
)

// A store that is killed makes everything 503 with Retry-After, and nothing 401,
// and all is well again when it is back.
func TestKilledStore(t *testing.T) {
	t.Parallel()
	redis := testserver.StartRedis(t)
	open := func() backend.Backend {
		b, err := backend.Open(t.Context(), redis.URL(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	s := serveOn(t, open(), open(), &keystore.Options{CacheTTL: 50 * time.Millisecond, OpTimeout: time.Second}, Config{})
	token, _ := s.generate("keystore:admin", "a")
	stranger, _ := s.generate("a") // which the server has never seen
	require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
	require.Equal(t, 200, s.get("/v1/keys", token).StatusCode)

	redis.Kill()
	require.Eventually(t, func() bool { // until the cache has forgotten it
		return s.get("/verify?scope=a", token).StatusCode == 503
	}, patience, 10*time.Millisecond)
	for _, path := range []string{"/verify", "/verify?scope=a", "/verify/a/x", "/v1/keys", "/v1/keys/0000000000000000"} {
		for _, who := range []string{token, stranger} {
			a := s.get(path, who)
			require.Equal(t, 503, a.StatusCode, path)
			require.NotEmpty(t, a.Header.Get("Retry-After"), path)
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), path)
			require.Empty(t, a.Header.Get("X-Key-Id"), path)
			require.NotContains(t, a.body, redis.Addr())
		}
	}
	require.Equal(t, 503, s.ask("POST", s.url("/v1/keys"), token, `{"owner":"bob"}`).StatusCode)
	require.Equal(t, 401, s.get("/verify", "no token").StatusCode, "no store is asked for it")
	require.Eventually(t, func() bool { return s.get("/readyz", "").StatusCode == 503 }, patience, 10*time.Millisecond)
	require.Equal(t, 200, s.get("/healthz", "").StatusCode)

	redis.Start()
	require.Eventually(t, func() bool {
		return s.get("/verify?scope=a", token).StatusCode == 200 && s.get("/verify?scope=a", stranger).StatusCode == 200 &&
			s.get("/v1/keys", token).StatusCode == 200 && s.get("/readyz", "").StatusCode == 200
	}, patience, 10*time.Millisecond)
	require.NoError(t, s.keys.Ping(context.Background()))
}

// Keys with limits, while a Redis is killed and comes back, as the server is told:
// refused; or passed unchecked as far as a cache goes that outlasts the store.
func TestLimitsWhileTheStoreIsKilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options keystore.Options
		during  int // of a key that was in use
	}{
		"closed":                {keystore.Options{LimitFailure: keystore.LimitsClosed, StaleIfUnavailable: time.Hour}, 503},
		"open":                  {keystore.Options{LimitFailure: keystore.LimitsOpen, StaleIfUnavailable: time.Hour}, 200},
		"open, nothing is kept": {keystore.Options{LimitFailure: keystore.LimitsOpen, CacheSize: -1}, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := testserver.StartRedis(t)
			open := func() backend.Backend {
				b, err := backend.Open(t.Context(), redis.URL(), nil)
				require.NoError(t, err)
				t.Cleanup(func() { _ = b.Close() })
				return b
			}
			s := serveOn(t, open(), open(), &c.options, Config{RateLimitFields: true})
			token, id := s.limited("a", "year 1000"+year)
			stranger, _ := s.limited("a", "year 1000"+year) // which the server has never seen
			unlimited, _ := s.generate("a")
			s.hear()
			for range 3 {
				require.Equal(t, 200, s.get("/verify", token).StatusCode)
				require.Equal(t, 200, s.get("/verify", unlimited).StatusCode)
			}
			require.Equal(t, 997, s.left(id))

			redis.Kill()
			const rounds = 4
			for range rounds {
				a := s.get("/verify", token)
				require.Equal(t, c.during, a.StatusCode)
				require.Empty(t, a.Header.Get("RateLimit"))
				require.Equal(t, c.during == 503, a.Header.Get("Retry-After") != "")
				require.Equal(t, 503, s.get("/verify", stranger).StatusCode)
				if c.options.CacheSize >= 0 {
					require.Equal(t, 200, s.get("/verify", unlimited).StatusCode, "a key without limits does not need the store")
				}
			}
			unchecked := metric(t, s.get("/metrics", "").body, "keystore_limits_unchecked_total")
			if c.during == 200 {
				require.EqualValues(t, rounds, unchecked)
			} else {
				require.Zero(t, unchecked)
			}

			redis.Start()
			require.Eventually(t, func() bool {
				return s.get("/verify", token).Header.Get("RateLimit") != ""
			}, patience, 10*time.Millisecond, "it is counted again")
			require.Less(t, s.left(id), 997)
			require.Greater(t, s.left(id), 997-100, "what passed unchecked is not made up for")
		})
	}
}
