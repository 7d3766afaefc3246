package httpauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

// limits reads limits as they are written.
func limits(t testing.TB, texts ...string) []keystore.Limit {
	t.Helper()
	list := make([]keystore.Limit, len(texts))
	for i, text := range texts {
		var err error
		list[i], err = keystore.ParseLimit(text)
		require.NoError(t, err)
	}
	return list
}

// limited makes a key of alice's with limits.
func (s *service) limited(scopes string, texts ...string) (token, id string) {
	s.t.Helper()
	token, key := s.generate(keystore.KeyParams{Scopes: strings.Fields(scopes), Limits: limits(s.t, texts...)})
	return token, key.ID
}

// left is what is left of the first limit of a key.
func (s *service) left(id string) int {
	s.t.Helper()
	states, err := s.ks.LimitsOf(context.Background(), id)
	require.NoError(s.t, err)
	return int(states[0].Remaining)
}

// fields are those of an answer about limits.
func fields(w *httptest.ResponseRecorder) http.Header {
	some := http.Header{}
	for name, values := range w.Header() {
		if strings.Contains(name, "Ratelimit") || name == "Retry-After" {
			some[name] = values
		}
	}
	return some
}

func TestRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at the midnight of a day
		s := newService(t, &Options{RateLimitFields: true})
		token, id := s.limited("", "burst 2/1s", "day 3/24h")
		h := s.Require()(greet)
		const policy = `"burst";q=2;w=1, "day";q=3;w=86400`
		time.Sleep(100 * time.Millisecond)
		for _, standing := range []string{`"burst";r=1;t=1, "day";r=2;t=86400`, `"burst";r=0;t=1, "day";r=1;t=86400`} {
			w := with(h, token)
			require.Equal(t, 200, w.Code)
			require.Equal(t, http.Header{"Ratelimit-Policy": {policy}, "Ratelimit": {standing}}, fields(w))
		}

		refused := func(retryAfter, standing, names, policies string) {
			t.Helper()
			w := with(h, token)
			assert.Equal(t, 429, w.Code)
			assert.Equal(t, http.Header{
				"Retry-After": {retryAfter}, "Ratelimit-Policy": {policy}, "Ratelimit": {standing},
				"Cache-Control": {"no-store"}, "Content-Type": {"application/problem+json"},
			}, w.Header())
			assert.Equal(t, `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,"detail":"The API key has used up what its limits allow for now: `+
				names+`.","code":"rate_limited","violated-policies":[`+policies+`]}`+"\n", w.Body.String())
		}
		for range 5 { // a refusal spends nothing
			refused("1", `"burst";r=0;t=1, "day";r=1;t=86400`, "burst", `"burst"`)
		}
		time.Sleep(899 * time.Millisecond)
		refused("1", `"burst";r=0;t=1, "day";r=1;t=86400`, "burst", `"burst"`)
		time.Sleep(time.Millisecond) // what it was told has passed
		require.Equal(t, 200, with(h, token).Code)
		refused("86399", `"burst";r=1;t=1, "day";r=0;t=86399`, "day", `"day"`)
		time.Sleep(86398*time.Second + time.Millisecond)
		refused("1", `"burst";r=2;t=1, "day";r=0;t=1`, "day", `"day"`)
		time.Sleep(999 * time.Millisecond)
		require.Equal(t, 200, with(h, token).Code)

		head := newRequest("/", "X-API-Key: "+token)
		head.Method = http.MethodHead
		require.Equal(t, 200, serve(h, head).Code)
		w := serve(h, head)
		assert.Equal(t, 429, w.Code)
		assert.NotEmpty(t, w.Header().Get("RateLimit"))
		assert.Empty(t, w.Body.String())

		_, err := s.Check(newRequest("/", "X-API-Key: "+token))
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, []string{"burst"}, failure.Exceeded)
		assert.ErrorIs(t, err, keystore.ErrRateLimited)
		assert.NotErrorIs(t, err, keystore.ErrUnauthenticated)
		assert.NotContains(t, s.log.String(), id, "a limit that is spent is nothing for the operator")
	})
}

func TestCost(t *testing.T) {
	price := int64(1)
	asked := 0
	s := newService(t, &Options{Cost: func(*http.Request) int64 { asked++; return price }})
	token, id := s.limited("a", "day 100/24h")
	h := s.Require("a")(greet)
	for _, c := range []struct {
		price        int64
		status, left int
	}{
		{10, 200, 90}, {0, 200, 89}, {89, 200, 0}, {1, 429, 0}, {100, 429, 0}, {101, 500, 0}, {keystore.MaxCost, 500, 0}, {keystore.MaxCost + 1, 500, 0}, {-1, 500, 0}, {-1 << 63, 500, 0},
	} {
		price, asked = c.price, 0
		w := with(h, token)
		assert.Equal(t, c.status, w.Code, c.price)
		assert.Equal(t, c.left, s.left(id), c.price)
		assert.Equal(t, 1, asked)
		if c.status == 500 {
			assert.Equal(t, CodeMisconfigured, codeOf(t, w))
			assert.Contains(t, w.Body.String(), "a price")
			assert.Empty(t, fields(w))
		}
	}
	assert.Contains(t, s.log.String(), "status=500", "a fault of the program is logged")
	s.set(errors.New("connection refused"), 0)
	price = 1
	require.Equal(t, 503, with(h, token).Code)
	assert.Contains(t, s.log.String(), "status=503", "and hides no outage of the same second")
	s.set(nil, 0)

	unlimited := s.key("a")
	price = 1000
	assert.Equal(t, 200, with(h, unlimited).Code, "a key without limits can pay anything")
	price = -1
	assert.Equal(t, 500, with(h, unlimited).Code, "that is a fault all the same")

	require.NoError(t, s.ks.ResetLimits(t.Context(), id))
	price, asked = 7, 0
	r := newRequest("/", "X-API-Key: "+token)
	_, err := s.CheckWith(r, keystore.LookupParams{Scopes: []string{"a"}, Cost: 30})
	require.NoError(t, err)
	assert.Equal(t, 70, s.left(id))
	assert.Zero(t, asked)
	result, err := s.Check(r, "a")
	require.NoError(t, err)
	assert.Equal(t, 63, s.left(id))
	h2 := http.Header{}
	s.SetLimitFields(h2, result)
	assert.Empty(t, h2, "it is not switched on")
	s.another(&Options{RateLimitFields: true}).SetLimitFields(h2, result)
	assert.Contains(t, h2.Get("RateLimit"), `"day";r=63;t=`)
}

// One request spends once, however many Require stand around its handler.
func TestOneRequestSpendsOnce(t *testing.T) {
	s := newService(t, &Options{Cost: func(*http.Request) int64 { return 3 }})
	token, id := s.limited("a", "day 1000/24h")
	other, otherID := s.limited("a", "day 1000/24h")
	another := s.another(&Options{RateLimitFields: true, Cost: func(*http.Request) int64 { return 50 }})
	elsewhere := newService(t, nil)
	spent := func(what string, want int, h http.Handler) {
		t.Helper()
		before := s.left(id)
		w := with(h, token)
		require.Equal(t, 200, w.Code, what)
		assert.Equal(t, want, before-s.left(id), what)
	}
	spent("alone", 3, s.Require()(greet))
	spent("thrice", 3, s.Require()(s.Require("a")(s.Require()(greet))))
	spent("another Auth within", 3, s.Require()(another.Require("a")(greet)))
	spent("another Auth around", 50, another.Require()(s.Require("a")(greet)))
	spent("both ways", 3, s.Require()(another.Require()(s.Require("a")(greet))))
	spent("Check within", 3, s.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, a := range []*Auth{s.Auth, another} {
			result, err := a.CheckWith(r, keystore.LookupParams{Scopes: []string{"a"}, Cost: 9})
			assert.NoError(t, err)
			assert.Equal(t, id, result.Key.ID)
		}
	})))
	spent("a batch", 3, s.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inner := s.Require("a")(greet)
		for _, f := range [][]string{{}, {"X-API-Key: " + token}, {"Authorization: Bearer " + token}, {"X-API-Key: " + token}} {
			assert.Equal(t, 200, serve(inner, newRequest("/part", f...).WithContext(r.Context())).Code)
		}
		before := s.left(otherID)
		assert.Equal(t, 200, serve(inner, newRequest("/part", "X-API-Key: "+other).WithContext(r.Context())).Code)
		assert.Equal(t, 3, before-s.left(otherID), "another key pays for itself")
		assert.Equal(t, 401, serve(elsewhere.Require()(greet), newRequest("/part", "X-API-Key: "+token).WithContext(r.Context())).Code, "another keystore")
		assert.Equal(t, 401, serve(another.Require()(greet), newRequest("/part").WithContext(r.Context())).Code, "another Auth wants a credential")
	})))

	// The inner one sets the fields where the outer one does not.
	w := with(s.Require()(another.Require()(greet)), token)
	assert.Equal(t, `"day";q=1000;w=86400`, w.Header().Get("RateLimit-Policy"))
	// A handler may take them away.
	w = with(another.Require()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("RateLimit")
		w.WriteHeader(404)
	})), token)
	assert.Equal(t, 404, w.Code)
	assert.Empty(t, w.Header().Get("RateLimit"))
	assert.NotEmpty(t, w.Header().Get("RateLimit-Policy"))
}

func TestARefusalForAScopeSpendsNothing(t *testing.T) {
	s := newService(t, nil)
	token, id := s.limited("a", "day 10/24h")
	require.Equal(t, 403, with(s.Require("b")(greet), token).Code)
	require.Equal(t, 10, s.left(id))
	require.Equal(t, 403, with(s.Require("a")(s.Require("b")(greet)), token).Code)
	require.Equal(t, 9, s.left(id), "the outer one let it pass")
}

// The two kinds of 429 have nothing to do with each other.
func TestLimitsAndTheThrottle(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: 1e-9, FailureBurst: 3})
	h := s.Require()(greet)
	token, id := s.limited("", "day 5/24h")
	for range 5 {
		require.Equal(t, 200, status(h, "192.0.2.1", token))
	}
	for range 50 {
		w := serve(h, from(h, "192.0.2.1", token))
		require.Equal(t, 429, w.Code)
		require.Equal(t, CodeRateLimited, codeOf(t, w))
	}
	require.Equal(t, 200, status(h, "192.0.2.1", s.key()), "a spent key is no failed attempt")
	require.NoError(t, s.ks.ResetLimits(t.Context(), id))
	for range 3 {
		require.Equal(t, 401, status(h, "192.0.2.1", otherToken))
	}
	w := serve(h, from(h, "192.0.2.1", token))
	require.Equal(t, CodeThrottled, codeOf(t, w))
	require.Empty(t, w.Header().Get("RateLimit"))
	require.Equal(t, 5, s.left(id), "an address that is throttled spends nothing")
	require.Equal(t, 200, status(h, "192.0.2.2", token))
}

// What the store cannot count is refused, or passes and says so, as the keystore is told.
func TestLimitsWhileTheStoreFails(t *testing.T) {
	for _, policy := range []keystore.LimitFailure{keystore.LimitsClosed, keystore.LimitsOpen} {
		var down atomic.Bool
		s := newService(t, nil)
		b := faulty.New(s.store, func(c faulty.Call) faulty.Fault {
			if down.Load() && c.Method == faulty.Spend {
				return faulty.Refuse(errors.New("connection refused"))
			}
			return nil
		})
		s.ks = newKeystore(t, b, func(o *keystore.Options) { o.LimitFailure = policy })
		s.Auth = s.another(&Options{RateLimitFields: true})
		token, id := s.limited("", "day 5/24h")
		unlimited := s.key()
		seen := keystore.Result{}
		h := s.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen, _ = ResultFrom(r.Context()) }))
		require.Equal(t, 200, with(h, token).Code)
		require.False(t, seen.LimitsUnchecked)
		require.Len(t, seen.Limits, 1)

		down.Store(true)
		for range 10 {
			w := with(h, token)
			if policy == keystore.LimitsClosed {
				require.Equal(t, 503, w.Code)
				require.Equal(t, "unavailable", codeOf(t, w))
				require.Equal(t, http.Header{"Retry-After": {"5"}}, fields(w))
				continue
			}
			require.Equal(t, 200, w.Code)
			require.True(t, seen.LimitsUnchecked)
			require.Empty(t, fields(w))
		}
		require.Equal(t, 200, with(h, unlimited).Code)
		down.Store(false)
		if policy == keystore.LimitsOpen {
			require.Contains(t, s.log.String(), "limits cannot be counted")
			require.Contains(t, s.log.String(), id)
			continue // when the store is asked again is the keystore's
		}
		require.Equal(t, 200, with(h, token).Code)
		require.Equal(t, 3, s.left(id), "what was refused spent nothing")
	}
}

// A plan that this process does not know says nothing of the key.
func TestUnknownPlanIs503(t *testing.T) {
	s := newService(t, nil, func(o *keystore.Options) { o.Plans = map[string][]keystore.Limit{"free": limits(t, "day 2/24h")} })
	token, _ := s.generate(keystore.KeyParams{Plan: "free"})
	h := s.Require()(greet)
	require.Equal(t, []int{200, 200, 429}, []int{with(h, token).Code, with(h, token).Code, with(h, token).Code})
	s.ks = newKeystore(t, s.store)
	w := with(s.another(nil).Require()(greet), token)
	require.Equal(t, 503, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

// 64 clients at once on a limit of 100: exactly 100 pass.
func TestManyClientsOnOneLimit(t *testing.T) {
	s := newService(t, &Options{RateLimitFields: true})
	token, _ := s.limited("", "day 100/24h")
	server := httptest.NewServer(s.Require()(greet))
	defer server.Close()
	const clients, each = 64, 5
	var statuses sync.Map
	count := func(what any) *atomic.Int64 {
		n, _ := statuses.LoadOrStore(what, new(atomic.Int64))
		return n.(*atomic.Int64)
	}
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for range each {
				r, _ := http.NewRequest("GET", server.URL, nil)
				r.Header.Set("X-API-Key", token)
				answer, err := transport.RoundTrip(r)
				if !assert.NoError(t, err) {
					return
				}
				answer.Body.Close()
				count(answer.StatusCode).Add(1)
				if answer.StatusCode == 200 { // each of them was told another rest
					left, _, _ := strings.Cut(answer.Header.Get("RateLimit"), ";t=")
					assert.EqualValues(t, 1, count(left).Add(1), left)
				}
			}
		})
	}
	group.Wait()
	assert.EqualValues(t, 100, count(200).Load())
	assert.EqualValues(t, clients*each-100, count(429).Load())
}
