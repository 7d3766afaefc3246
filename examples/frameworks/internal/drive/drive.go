// Package drive asks the same of every framework's routes.
package drive

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

// breakable is a store that can be switched off.
type breakable struct {
	*memory.Backend
	off atomic.Bool
}

func (b *breakable) Get(ctx context.Context, id string) (backend.Record, error) {
	if b.off.Load() {
		return backend.Record{}, errors.New("switched off")
	}
	return b.Backend.Get(ctx, id)
}

// Routes expects a public GET /hello, which answers "hello", and a GET
// /orders/{id} with the scope orders:read, which answers "order ID of OWNER".
func Routes(t *testing.T, routes func(*httpauth.Auth) http.Handler) {
	store := &breakable{Backend: memory.New()}
	ks, err := keystore.New(store, &keystore.Options{CacheSize: -1})
	require.NoError(t, err)
	defer ks.Close()
	auth, err := httpauth.New(ks, nil)
	require.NoError(t, err)
	key := func(scopes ...string) string {
		token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice", Scopes: scopes})
		require.NoError(t, err)
		return token.Reveal()
	}
	server := httptest.NewServer(routes(auth))
	defer server.Close()
	ask := func(path, token string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer, strings.TrimSpace(string(body))
	}

	answer, body := ask("/hello", "")
	assert.Equal(t, 200, answer.StatusCode)
	assert.Equal(t, "hello", body)

	good := key("orders:*")
	answer, body = ask("/orders/7", good)
	assert.Equal(t, 200, answer.StatusCode)
	assert.Equal(t, "order 7 of alice", body)

	for token, challenge := range map[string]string{"": `Bearer realm="api"`, "wrong": `Bearer realm="api", error="invalid_token"`} {
		answer, body = ask("/orders/7", token)
		assert.Equal(t, 401, answer.StatusCode)
		assert.Equal(t, challenge, answer.Header.Get("WWW-Authenticate"))
		assert.Equal(t, "application/problem+json", answer.Header.Get("Content-Type"))
		assert.NotContains(t, body, "order 7", "the handler ran")
	}

	answer, body = ask("/orders/7", key("invoices:read"))
	assert.Equal(t, 403, answer.StatusCode)
	assert.Contains(t, body, `"missing_scopes":["orders:read"]`)
	assert.NotContains(t, body, "order 7", "the handler ran")

	store.off.Store(true)
	answer, body = ask("/orders/7", good)
	assert.Equal(t, 503, answer.StatusCode)
	assert.NotEmpty(t, answer.Header.Get("Retry-After"))
	assert.NotContains(t, body, "order 7", "the handler ran")
}
