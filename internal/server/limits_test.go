package server

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/memory"
)

// limited makes a key with limits, as they are written.
func (i *instance) limited(scope string, texts ...string) (token, id string) {
	i.t.Helper()
	var limits []keystore.Limit
	for _, text := range texts {
		l, err := keystore.ParseLimit(text)
		require.NoError(i.t, err)
		limits = append(limits, l)
	}
	made, key, err := i.keys.Generate(i.t.Context(), keystore.KeyParams{Owner: "alice", Scopes: []string{scope}, Limits: limits, AllowReserved: true})
	require.NoError(i.t, err)
	return made.Reveal(), key.ID
}

// left is what is left of the one limit of a key.
func (i *instance) left(id string) int {
	i.t.Helper()
	states, err := i.keys.LimitsOf(i.t.Context(), id)
	require.NoError(i.t, err)
	return int(states[0].Remaining)
}

// onStores runs a test on a store in memory and on a real Redis.
func onStores(t *testing.T, test func(t *testing.T, open func() backend.Backend)) {
	t.Run("memory", func(t *testing.T) {
		store := new(memory.Store)
		test(t, func() backend.Backend { return store.Open() })
	})
	t.Run("redis", func(t *testing.T) {
		url := testserver.StartRedis(t).URL()
		test(t, func() backend.Backend {
			b, err := backend.Open(t.Context(), url, nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = b.Close() })
			return b
		})
	})
}

// year is the longest window: hardly a test sees its end.
const year = "/366d"

func TestVerifySpends(t *testing.T) {
	onStores(t, func(t *testing.T, open func() backend.Backend) {
		s := serveOn(t, open(), open(), nil, Config{RateLimitFields: true, LegacyRateLimitFields: true})
		token, id := s.limited("a", "year 100"+year)
		for _, c := range []struct {
			path         string
			status, left int
		}{
			{"/verify", 200, 99}, {"/verify?scope=a", 200, 98}, {"/verify/a/x?cost=50", 200, 97}, {"/verify?cost=50&scope=a", 200, 47},
			{"/verify?scope=b", 403, 47}, {"/verify?scope=b&cost=10", 403, 47}, {"/verify?cost=48", 429, 47}, {"/verify?cost=0", 400, 47}, {"/verify?cost=101", 500, 47},
			{"/verify?cost=47", 200, 0}, {"/verify", 429, 0}, {"/verify/-/x", 429, 0}, {"/verify?scope=b", 403, 0},
		} {
			a := s.get(c.path, token)
			require.Equal(t, c.status, a.StatusCode, c.path)
			require.Equal(t, c.left, s.left(id), c.path)
			told := ""
			if c.status == 200 || c.status == 429 {
				told = `"year";q=100;w=31622400`
				require.Equal(t, "100", a.Header.Get("X-RateLimit-Limit"), c.path)
				require.Regexp(t, `^"year";r=`+a.Header.Get("X-RateLimit-Remaining")+`;t=`+a.Header.Get("X-RateLimit-Reset")+`$`, a.Header.Get("RateLimit"), c.path)
			}
			require.Equal(t, told, a.Header.Get("RateLimit-Policy"), c.path)
			require.Equal(t, c.status == 429, a.Header.Get("Retry-After") != "", c.path)
			require.Equal(t, c.status == 200, a.Header.Get("X-Key-Id") != "", c.path)
			if c.status == 429 {
				require.Contains(t, a.body, `"code":"rate_limited","violated-policies":["year"]`)
			}
		}

		// The API spends too, once for each request.
		admin, adminID := s.limited("keystore:admin", "year 3"+year)
		for range 3 {
			require.Equal(t, 200, s.get("/v1/keys", admin).StatusCode)
		}
		require.Zero(t, s.left(adminID))
		require.Equal(t, 429, s.get("/v1/keys", admin).StatusCode)
		require.Equal(t, 0, strings.Count(s.log.String(), token))
	})
}

// Without the switches only a refusal tells of limits, by the fields of the draft.
func TestVerifyTellsOfLimitsIfAsked(t *testing.T) {
	s := serve(t, Config{})
	token, _ := s.limited("a", "year 1"+year)
	passed, refused := s.get("/verify", token), s.get("/verify", token)
	require.Equal(t, []int{200, 429}, []int{passed.StatusCode, refused.StatusCode})
	require.Empty(t, passed.Header.Get("RateLimit"))
	require.NotEmpty(t, refused.Header.Get("RateLimit"))
	require.Empty(t, refused.Header.Get("X-RateLimit-Limit"))
}

// 64 clients of two servers that share a store, on a limit of 100: exactly 100 pass.
func TestManyClientsOfTwoServers(t *testing.T) {
	onStores(t, func(t *testing.T, open func() backend.Backend) {
		servers := []*instance{serveOn(t, open(), open(), nil, Config{}), serveOn(t, open(), open(), nil, Config{})}
		token, id := servers[0].limited("a", "year 100"+year)
		var passed, refused atomic.Int32
		var group sync.WaitGroup
		for n := range 64 {
			group.Go(func() {
				s := servers[n%2]
				for range 4 {
					a, err := ask(t.Context(), s.client, http.MethodGet, s.url("/verify?scope=a"), token, "")
					switch {
					case err != nil:
						t.Error(err)
						return
					case a.StatusCode == 200:
						passed.Add(1)
					case a.StatusCode == 429:
						refused.Add(1)
					default:
						t.Error(a.Status)
					}
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 100, passed.Load())
		require.EqualValues(t, 4*64-100, refused.Load())
		require.Zero(t, servers[0].left(id))
	})
}

// What cannot be counted is 503, or passes, as the server is told; the metrics say
// which.
func TestVerifyWhileLimitsCannotBeCounted(t *testing.T) {
	for _, policy := range []keystore.LimitFailure{keystore.LimitsClosed, keystore.LimitsOpen} {
		store := new(memory.Store)
		var down atomic.Bool
		failing := faulty.New(store.Open(), func(c faulty.Call) faulty.Fault {
			if down.Load() && c.Method == faulty.Spend {
				return faulty.Refuse(errors.New("connection refused"))
			}
			return nil
		})
		s := serveOn(t, failing, store.Open(), &keystore.Options{CacheTTL: time.Hour, LimitFailure: policy}, Config{RateLimitFields: true})
		token, _ := s.limited("a", "year 3"+year)
		require.NotEmpty(t, s.get("/verify", token).Header.Get("RateLimit"))
		down.Store(true)
		for range 7 {
			a := s.get("/verify", token)
			if policy == keystore.LimitsClosed {
				require.Equal(t, 503, a.StatusCode)
				require.NotEmpty(t, a.Header.Get("Retry-After"))
				require.Empty(t, a.Header.Get("X-Key-Id"))
			} else {
				require.Equal(t, 200, a.StatusCode)
				require.NotEmpty(t, a.Header.Get("X-Key-Id"))
			}
			require.Empty(t, a.Header.Get("RateLimit"))
		}
		text := s.get("/metrics", "").body
		want := map[string]float64{`keystore_limits_unchecked_total`: 0, `keystore_lookups_total{reason="unavailable"}`: 7}
		if policy == keystore.LimitsOpen {
			want = map[string]float64{`keystore_limits_unchecked_total`: 7, `keystore_lookups_total{reason="ok"}`: 8}
		}
		for name, value := range want {
			require.Equal(t, value, metric(t, text, name), name)
		}
		require.Positive(t, metric(t, text, `keystore_store_call_seconds_count{call="spend",outcome="error"}`))
	}
}

func TestMetricsOfLimits(t *testing.T) {
	s := serve(t, Config{})
	token, id := s.limited("a", "year 2"+year)
	for _, status := range []int{200, 200, 429, 429, 429} {
		require.Equal(t, status, s.get("/verify", token).StatusCode)
	}
	require.Equal(t, 500, s.get("/verify?cost=3", token).StatusCode)
	text := s.get("/metrics", "").body
	for name, value := range map[string]float64{
		`keystore_lookups_total{reason="ok"}`:                                   2,
		`keystore_lookups_total{reason="rate_limited"}`:                         3,
		`keystore_lookups_total{reason="invalid_cost"}`:                         1,
		`keystore_store_call_seconds_count{call="spend",outcome="ok"}`:          5,
		`keystore_http_requests_total{code="429",method="GET",route="/verify"}`: 3,
		`keystore_limits_unchecked_total`:                                       0,
		`keystore_usage_lost_total`:                                             0,
	} {
		require.Equal(t, value, metric(t, text, name), name)
	}
	require.NotContains(t, text, id)
	require.NotContains(t, text, "year")
}

// When the server has ended, what was used is in the store.
func TestUsageIsWrittenAtTheEnd(t *testing.T) {
	onStores(t, func(t *testing.T, open func() backend.Backend) {
		s := serveOn(t, open(), open(), &keystore.Options{UsageInterval: time.Hour}, Config{})
		token, id := s.limited("a", "year 20"+year)
		require.Equal(t, 200, s.get("/verify", token).StatusCode)
		require.Equal(t, 200, s.get("/verify?cost=12", token).StatusCode)
		require.Equal(t, 429, s.get("/verify?cost=20", token).StatusCode)
		require.Equal(t, 403, s.get("/verify?scope=b", token).StatusCode)
		require.NoError(t, s.end())
		var sum keystore.Usage
		for u, err := range s.keys.Usage(t.Context(), id, time.Time{}, time.Time{}) {
			require.NoError(t, err)
			sum = sum.Add(u)
		}
		sum.Start = time.Time{}
		require.Equal(t, keystore.Usage{Allowed: 2, Limited: 1, MissingScope: 1, Cost: 13}, sum)
	})
}
