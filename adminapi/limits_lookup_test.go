package adminapi

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// TestLookupOfLimits: it spends as a service does, unless it peeks, and says how the
// limits stand.
func TestLookupOfLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, nil)
	admin := s.admin()
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	_, stranger := s.key(keystore.KeyParams{Owner: "bob", Scopes: []string{ScopeSelf}})
	_, looked := s.key(keystore.KeyParams{Owner: "alice", Limits: perDay(5)})
	look := func(token string, body m) reply {
		body["token"] = looked
		return s.do(request{method: "POST", path: "/lookup", token: token, body: body})
	}
	remaining := func(r reply) any { return r.body["limits"].([]any)[0].(map[string]any)["remaining"] }

	assert.Equal(t, 4.0, remaining(look(admin, m{}).want(t, 200, "")), "it spends")
	assert.Equal(t, 4.0, remaining(look(admin, m{"peek": true, "cost": 4}).want(t, 200, "")))
	assert.Equal(t, 4.0, remaining(look(admin, m{"peek": true}).want(t, 200, "")), "and peeking does not")
	assert.Equal(t, 3.0, remaining(look(self, m{"peek": false}).want(t, 200, "")))
	assert.Equal(t, 1.0, remaining(look(self, m{"cost": 2}).want(t, 200, "")))

	for _, token := range []string{admin, self} {
		for _, peek := range []bool{true, false} {
			got := look(token, m{"cost": 2, "peek": peek}).want(t, 200, "")
			assert.Equal(t, false, got.body["valid"])
			assert.Equal(t, "rate_limited", got.body["code"])
			assert.Equal(t, 1.0, remaining(got), "a refusal spends nothing")
			assert.Equal(t, 43200.0, got.body["retry_after_seconds"])
			assert.NotContains(t, got.body, "key")
		}
	}
	assert.Equal(t, 0.0, remaining(look(self, m{"cost": 1}).want(t, 200, "")))
	for _, cost := range []any{0, -1, 1.5, 1_000_000_001, nil, "1"} {
		look(admin, m{"cost": cost}).want(t, 422, "invalid").at(t, "body.cost")
	}
	look(admin, m{"peek": nil}).want(t, 422, "invalid").at(t, "body.peek")
	look(admin, m{"peek": "no"}).want(t, 422, "invalid").at(t, "body.peek")
	for _, token := range []string{admin, self} {
		look(token, m{"cost": 6}).want(t, 422, "invalid").at(t, "body.cost")
	}
	// To others neither that it is spent, nor what it could ever afford.
	for _, body := range []m{{}, {"cost": 6}, {"peek": true}, {"peek": true, "cost": 6}, {"scopes": []string{"x"}}} {
		assert.Equal(t, "{\"valid\":false,\"code\":\"invalid\"}\n", look(stranger, body).want(t, 200, "").raw)
	}
	_, unlimited := s.key(keystore.KeyParams{Owner: "alice"})
	assert.NotContains(t, s.do(request{method: "POST", path: "/lookup", token: admin, body: m{"token": unlimited, "cost": 1_000_000_000}}).want(t, 200, "").body, "limits")
}

// TestLimitsWhenTheStoreFails: a lookup that cannot be counted is an outage, or
// passes and says so.
func TestLimitsWhenTheStoreFails(t *testing.T) {
	for _, open := range []bool{false, true} {
		down := false
		store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
			if down && c.Method == faulty.Spend {
				return faulty.Refuse(errDown)
			}
			return nil
		})
		opts := keystore.Options{}
		if open {
			opts.LimitFailure = keystore.LimitsOpen
		}
		s := newSite(t, store, opts, as(everything))
		_, token := s.key(keystore.KeyParams{Owner: "alice", Limits: perDay(5)})
		down = true
		got := s.do(request{method: "POST", path: "/lookup", body: m{"token": token}})
		if !open {
			got.want(t, 503, "unavailable")
			assert.NotContains(t, got.raw, "hunter2")
			continue
		}
		got.want(t, 200, "")
		assert.Equal(t, true, got.body["valid"])
		assert.Equal(t, true, got.body["limits_unchecked"])
	}
}

// TestConcurrentLookups: of a limit of 20, exactly 20 pass of 64 at once.
func TestConcurrentLookups(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, as(everything))
	_, token := s.key(keystore.KeyParams{Owner: "alice", Limits: perDay(20)})
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			got := s.do(request{method: "POST", path: "/lookup", body: m{"token": token}})
			if got.StatusCode == 200 && got.body["valid"] == true {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 20, passed.Load())
}
