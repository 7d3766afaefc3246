//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// verify asks a server for a key, and returns the answer, whose body is closed.
func (s *serving) verify(query, token string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.api+"/verify"+query, nil)
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	return response
}

// A server enforces the plans of its file, another file gives keys other limits, and
// what was used is in the store when it has ended.
func TestServeLimits(t *testing.T) {
	dir := t.TempDir()
	store, plans := "badger://"+slashed(filepath.Join(dir, "store"))+"?sync=0", filepath.Join(dir, "plans.json")
	write := func(text string) { require.NoError(t, os.WriteFile(plans, []byte(text), 0o600)) }
	write(`{"free": ["year 3/366d"]}`)
	u := newTool(t, store)
	id, token := u.generate(t, "--scope", "a", "--plans", plans, "--plan", "free")

	s := startServe(t, store, "--plans", plans, "--rate-limit-fields", "--legacy-rate-limit-fields")
	first := s.verify("", token)
	require.Equal(t, 200, first.StatusCode)
	require.Equal(t, `"year";q=3;w=31622400`, first.Header.Get("RateLimit-Policy"))
	require.Equal(t, "2", first.Header.Get("X-RateLimit-Remaining"))
	require.Equal(t, 200, s.verify("?scope=a&cost=2", token).StatusCode)
	for range 5 {
		refused := s.verify("", token)
		require.Equal(t, 429, refused.StatusCode)
		require.Equal(t, refused.Header.Get("X-RateLimit-Reset"), refused.Header.Get("Retry-After"))
	}
	require.Zero(t, s.end(syscall.SIGTERM))

	t.Setenv("KEYSTORE_PLANS", plans)
	write(`{"free": ["year 4/366d"]}`)
	s = startServe(t, store)
	passed := s.verify("", token)
	require.Equal(t, 200, passed.StatusCode, "the plan allows one more")
	require.Empty(t, passed.Header.Get("RateLimit"), "it was not asked for")
	require.Equal(t, 429, s.verify("", token).StatusCode)
	require.Zero(t, s.end(syscall.SIGINT))

	t.Setenv("KEYSTORE_PLANS", "")
	s = startServe(t, store, "--limits-open")
	require.Equal(t, 503, s.verify("", token).StatusCode, "without the plan nobody knows")
	require.Zero(t, s.end(syscall.SIGTERM))

	used := u.must(t, "usage", id, "--json")
	for path, want := range map[string]string{"allowed": "3", "limited": "6", "cost": "4"} {
		got, err := jsonAt(used, path)
		require.NoError(t, err)
		require.Equal(t, want, got, used)
	}
}

// Counts stay in the store for as long as the server that wrote them was told.
func TestServeUsageRetention(t *testing.T) {
	store := "badger://" + slashed(filepath.Join(t.TempDir(), "store")) + "?sync=0"
	_, token := newTool(t, store).generate(t)
	s := startServe(t, store, "--usage-retention", "400d")
	require.Equal(t, 200, s.verify("", token).StatusCode)
	require.Zero(t, s.end(syscall.SIGTERM))

	b, err := backend.Open(t.Context(), store, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	after := func(days int) time.Time { return time.Now().AddDate(0, 0, days) }
	n, err := b.(backend.Meter).PurgeUsage(t.Context(), after(399), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = b.(backend.Meter).PurgeUsage(t.Context(), after(402), 10)
	require.NoError(t, err)
	require.Equal(t, 2, n, "of the key and of its owner")
}
