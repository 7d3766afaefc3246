package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver"
)

// fillLimited makes a key with one limit in a store that nobody has open, or that many
// may have open.
func fillLimited(t *testing.T, storeURL, scopes, limit string) key {
	t.Helper()
	ks := open(t, storeURL)
	defer func() { require.NoError(t, ks.Close()) }()
	l, err := keystore.ParseLimit(limit)
	require.NoError(t, err)
	token, k, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice", Scopes: strings.Fields(scopes), Limits: []keystore.Limit{l}})
	require.NoError(t, err)
	return key{token.Reveal(), k}
}

// Through each proxy, on each store: a request spends what the configuration says, the
// client hears of it, and is refused when nothing is left.
func TestLimits(t *testing.T) {
	for name, storeURL := range stores {
		t.Run(name, func(t *testing.T) {
			url := storeURL(t)
			keys := map[string]key{}
			for _, kind := range []string{"nginx", "caddy"} {
				keys[kind] = fillLimited(t, url, "orders:* reports:export", "year 13/366d")
			}
			small := fillLimited(t, url, "reports:export", "year 9/366d")
			free := fill(t, url, "reports:export")[0]
			server := serve(t, url, "--rate-limit-fields")
			each(t, func(t *testing.T, kind string) {
				s := newSite(t, kind, server.Addr())
				const policy = `"year";q=13;w=31622400`
				ask := func(method, path, token string, status int, left string) *reply {
					t.Helper()
					reply := s.send(t, method, path, []string{bearer(token), `RateLimit: "forged";r=999;t=1`, `RateLimit-Policy: "forged";q=999`}, "")
					require.Equal(t, status, reply.StatusCode, reply.body)
					if left == "" {
						assert.NotContains(t, reply.Header, "Ratelimit")
						assert.NotContains(t, reply.Header, "Ratelimit-Policy")
					} else {
						require.Len(t, reply.Header["Ratelimit"], 1)
						assert.Regexp(t, `^"year";r=`+left+`;t=[0-9]+$`, reply.Header["Ratelimit"][0])
						assert.Equal(t, []string{policy}, reply.Header["Ratelimit-Policy"])
					}
					if status == http.StatusTooManyRequests {
						assert.Regexp(t, `;t=`+reply.Header.Get("Retry-After")+`$`, reply.Header.Get("RateLimit"))
						assert.Equal(t, []string{"no-store"}, reply.Header["Cache-Control"])
					} else {
						assert.Empty(t, reply.Header.Get("Retry-After"))
					}
					if status != http.StatusOK {
						assert.Empty(t, s.app.take())
						return reply
					}
					s.app.one(t)
					return reply
				}
				token := keys[kind].token
				ask("GET", "/orders/1", token, 200, "12")
				ask("POST", "/orders?cost=5", token, 200, "11")
				ask("GET", "/exports/2026?cost=1&scope=orders:read", token, 200, "1")
				ask("GET", "/reports", token, 403, "")
				ask("GET", "/exports", token, 429, "1")
				ask("GET", "/healthz", token, 200, "")
				ask("DELETE", "/orders/1", token, 200, "0")
				for _, path := range []string{"/orders", "/exports", "/else"} {
					reply := ask("GET", path, token, 429, "0")
					if kind == "caddy" {
						assert.Contains(t, reply.body, `"code":"rate_limited","violated-policies":["year"]`)
					}
				}
				ask("GET", "/exports", free.token, 200, "")
				ask("GET", "/orders", free.token, 403, "")
				ask("GET", "/orders", "x", 401, "")
				ask("GET", "/exports", small.token, 500, "") // a price that it can never pay
			})
		})
	}
}

// 64 clients of two proxies, on a limit of 100: exactly 100 requests reach the app.
func TestManyClientsOnOneLimit(t *testing.T) {
	url := testserver.StartRedis(t).URL()
	k := fillLimited(t, url, "orders:*", "year 100/366d")
	app := newRecorder(t, answer)
	var addrs []string
	for _, kind := range []string{"nginx", "caddy"} { // each with a keystore of its own
		addrs = append(addrs, proxies[kind](t, serve(t, url).Addr(), app.addr).Addr())
	}
	var passed, refused, started atomic.Int64
	clients := newClients(t, 64, func(c *client) error {
		status, err := c.get("http://"+addrs[started.Add(1)%2]+"/orders", k.token)
		switch {
		case err != nil:
			return err
		case status == http.StatusOK:
			passed.Add(1)
		case status == http.StatusTooManyRequests:
			if refused.Add(1) > 200 {
				return errEnough
			}
		default:
			t.Errorf("status %d", status)
			return errEnough
		}
		return nil
	})
	clients.await(t, "the limit is spent, and more was asked", func() bool { return refused.Load() > 200 })
	clients.end(t)
	assert.EqualValues(t, 100, passed.Load())
	assert.Equal(t, 100, len(app.take()))
}
