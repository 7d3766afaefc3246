package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
)

// patience is for what must come from elsewhere; a busy machine is no reason to fail.
const patience = 30 * time.Second

// A store that is gone is 503 for a client, never 401, and never lets anybody through
// who was not known. What is open to all stays so. When the store is back, so is the
// service, without a restart of anything.
func TestStoreIsKilled(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		store := testserver.StartRedis(t)
		keys := fill(t, store.URL(), "orders:*", "orders:*", "orders:*")
		server := serve(t, store.URL(), "--cache-size", "none")
		s := newSite(t, kind, server.Addr())
		require.Equal(t, http.StatusOK, s.get(t, "/orders", bearer(keys[0].token)).StatusCode)
		s.app.take()

		store.Kill()
		for _, token := range []string{keys[0].token, keys[1].token, unknown(t)} {
			reply := s.get(t, "/orders", bearer(token))
			assert.Equal(t, http.StatusServiceUnavailable, reply.StatusCode, reply.body)
			assert.Equal(t, "5", reply.Header.Get("Retry-After"))
			assert.Empty(t, reply.Header.Get("WWW-Authenticate"))
		}
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/orders", bearer("x")).StatusCode, "no token: that needs no store")
		assert.Empty(t, s.app.take())
		assert.Equal(t, http.StatusOK, s.get(t, "/healthz").StatusCode)

		store.Start()
		require.Eventually(t, func() bool {
			return s.get(t, "/orders", bearer(keys[2].token)).StatusCode == http.StatusOK
		}, patience, 20*time.Millisecond)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/orders", bearer(unknown(t))).StatusCode)
	})
}

// unknown is a token of a key that another store has.
func unknown(t *testing.T) string {
	t.Helper()
	return fill(t, "memory://", "orders:*")[0].token
}

// Clients are told apart by the proxy's word, not by their own. Who guesses is slowed
// down; others are not.
func TestThrottle(t *testing.T) {
	url := badgerURL(t)
	k := fill(t, url, "")[0]
	server := serve(t, url)
	each(t, func(t *testing.T, kind string) {
		s := newSite(t, kind, server.Addr())
		guess := []string{bearer("x"), "X-Forwarded-For: 192.0.2.1"}
		var reply *reply
		for range 1000 { // a slow machine gives budget back meanwhile
			if reply = s.get(t, "/", guess...); reply.StatusCode != http.StatusUnauthorized {
				break
			}
		}
		require.Equal(t, http.StatusTooManyRequests, reply.StatusCode)
		assert.NotEmpty(t, reply.Header.Get("Retry-After"))
		assert.Equal(t, http.StatusTooManyRequests, s.get(t, "/", bearer("x"), "X-Forwarded-For: 192.0.2.2").StatusCode, "one that calls itself another")

		s.from = "127.0.0.2" // an address of this machine too, on Linux
		assert.Equal(t, http.StatusOK, s.get(t, "/", bearer(k.token)).StatusCode)
		assert.Equal(t, http.StatusUnauthorized, s.get(t, "/", bearer("x")).StatusCode)
	})
}
