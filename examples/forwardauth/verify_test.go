package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Traefik and Envoy ask, byte for byte, as their documentation has it. Neither runs
// here: this shows only that keystore answers them.
func TestWhatTraefikAndEnvoyAsk(t *testing.T) {
	url := badgerURL(t)
	keys := fill(t, url, "orders:*", "")
	orders, none := keys[0], keys[1]
	server := serve(t, url)
	ask := func(method, path, token string, lines ...string) *reply {
		t.Helper()
		s := &site{proxy: server}
		return s.send(t, method, path, append(lines, bearer(token)), "")
	}
	traefik := []string{"X-Forwarded-Method: POST", "X-Forwarded-Proto: https", "X-Forwarded-Host: app.example", "X-Forwarded-Uri: /orders?scope=x", "X-Forwarded-For: 192.0.2.1"}
	assert.Equal(t, http.StatusOK, ask("GET", "/verify?scope=orders:write&scope=orders:read", orders.token, traefik...).StatusCode)
	assert.Equal(t, http.StatusForbidden, ask("GET", "/verify?scope=orders:write", none.token, traefik...).StatusCode)
	assert.Equal(t, http.StatusOK, ask("GET", "/verify", none.token, traefik...).StatusCode)

	// Envoy puts path_prefix before the client's own path and query, and asks by the
	// client's method.
	for _, path := range []string{"/", "/orders/1", "//", "/orders?scope=other&x=%zz", "/a,b", "/../../verify/-/", "/..%2f..%2f-/", "/.", "/%00", "/verify/-/", "/;a=b"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"} {
			reply := ask(method, "/verify/orders:read"+path, orders.token)
			require.Equal(t, http.StatusOK, reply.StatusCode, "%s %s: %s", method, path, reply.body)
			assert.Equal(t, orders.ID, reply.Header.Get("X-Key-Id"))
			assert.Equal(t, "alice%20b%C3%A4r@example", reply.Header.Get("X-Key-Owner"))
			assert.Equal(t, "orders:*", reply.Header.Get("X-Key-Scopes"))
			assert.Empty(t, reply.body)
			assert.Equal(t, http.StatusForbidden, ask(method, "/verify/orders:read"+path, none.token).StatusCode, "%s %s", method, path)
		}
		assert.Equal(t, http.StatusOK, ask("GET", "/verify/-"+path, none.token).StatusCode, path)
	}
}
