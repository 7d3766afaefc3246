package adminapi

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// assertWithin fails if a key of this plan and these limits could do more than self
// can, as a client would see it: by any window of self's, it has one as long.
func assertWithin(t assert.TestingT, self keystore.Key, plan string, own []keystore.Limit, show string) {
	effective := func(plan string, own []keystore.Limit) map[string]keystore.Limit {
		all := map[string]keystore.Limit{}
		for _, l := range somePlans[plan] {
			all[l.Name] = l
		}
		for _, l := range own {
			all[l.Name] = l
		}
		return all
	}
	has := effective(plan, own)
	for _, bound := range effective(self.Plan, slices.Collect(self.Limits.All())) {
		tight := false
		for _, l := range has {
			tight = tight || l.Window == bound.Window && l.Requests <= bound.Requests
		}
		assert.True(t, tight, "%s: %v does not hold for %q %v", show, bound, plan, own)
	}
}

// TestEscalationOfLimits tries, one by one, to get more requests out of the keys of an
// owner than the presented one has.
func TestEscalationOfLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans, Now: atNoon}, nil)
	hour := []keystore.Limit{{Name: "hour", Requests: 10_000, Window: time.Hour}}
	selfKey, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "orders:*"}, Plan: "free", Limits: hour})
	hourJSON := limitJSON("hour", 10_000, 3600)
	day1M := limitJSON("day", 1_000_000, 86400)

	child := keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}, Plan: "free", Limits: hour, TTL: time.Hour}
	with := func(plan string, limits ...keystore.Limit) *keystore.KeyParams {
		p := child
		p.Plan, p.Limits = plan, limits
		return &p
	}
	l := func(name string, requests int64, window time.Duration) keystore.Limit {
		return keystore.Limit{Name: name, Requests: requests, Window: window}
	}
	var (
		same      = with("free", hour...)
		unlimited = with("")
		pro       = with("pro", hour...)
		planOnly  = with("free")
		raised    = with("free", l("hour", 10_000, time.Hour), l("day", 1_000_001, day))
		longer    = with("free", l("hour", 10_000, 2*time.Hour))
		tighter   = with("free", l("hour", 9_999, time.Hour), l("burst", 1, time.Second))
		renamed   = with("", l("stunde", 10_000, time.Hour), l("tag", 1_000_000, day))
		bob       = &keystore.KeyParams{Owner: "bob", Plan: "free", Limits: hour}
	)
	rotate, extend := m{"grace_seconds": 0}, m{"expires_at": noon.Add(2 * time.Hour)}

	for name, test := range map[string]struct {
		of           *keystore.KeyParams // nil: POST /keys
		method, path string
		body         any
		location     string // "": it is allowed; "-": 403 without one; "404": not found
	}{
		"create with another plan":               {nil, "POST", "", m{"plan": "pro"}, "body.plan"},
		"create with a plan without limits":      {nil, "POST", "", m{"plan": "none"}, "body.plan"},
		"create with no plan":                    {nil, "POST", "", m{"plan": ""}, "body.plan"},
		"create with a plan that there is not":   {nil, "POST", "", m{"plan": "gold"}, "body.plan"},
		"create with no limits":                  {nil, "POST", "", m{"limits": []m{}}, "body.limits"},
		"create with a wider limit":              {nil, "POST", "", m{"limits": []m{limitJSON("hour", 10_001, 3600)}}, "body.limits"},
		"create with a narrower limit":           {nil, "POST", "", m{"limits": []m{limitJSON("hour", 1, 3600)}}, "body.limits"},
		"create with a longer window":            {nil, "POST", "", m{"limits": []m{limitJSON("hour", 10_000, 3601)}}, "body.limits"},
		"create with the plan's raised":          {nil, "POST", "", m{"limits": []m{hourJSON, limitJSON("day", 9_000_000, 86400)}}, "body.limits"},
		"create with one more":                   {nil, "POST", "", m{"limits": []m{hourJSON, limitJSON("more", 1, 1)}}, "body.limits"},
		"create with it twice":                   {nil, "POST", "", m{"limits": []m{hourJSON, hourJSON}}, "body.limits"},
		"create with what it has":                {nil, "POST", "", m{"plan": "free", "limits": []m{hourJSON}}, ""},
		"create and say nothing":                 {nil, "POST", "", m{}, ""},
		"set another plan":                       {same, "PATCH", "", m{"plan": "pro"}, "body.plan"},
		"clear the plan":                         {same, "PATCH", "", m{"plan": nil}, "body.plan"},
		"empty the plan":                         {same, "PATCH", "", m{"plan": ""}, "body.plan"},
		"guess a plan":                           {same, "PATCH", "", m{"plan": "gold"}, "body.plan"},
		"clear the limits":                       {same, "PATCH", "", m{"limits": nil}, "body.limits"},
		"empty the limits":                       {same, "PATCH", "", m{"limits": []m{}}, "body.limits"},
		"raise a limit":                          {same, "PATCH", "", m{"limits": []m{limitJSON("hour", 20_000, 3600)}}, "body.limits"},
		"lower a limit":                          {same, "PATCH", "", m{"limits": []m{limitJSON("hour", 1, 3600)}}, "body.limits"},
		"rename a limit":                         {same, "PATCH", "", m{"limits": []m{limitJSON("other", 10_000, 3600)}}, "body.limits"},
		"override the plan":                      {same, "PATCH", "", m{"limits": []m{hourJSON, day1M}}, "body.limits"},
		"limits amid harmless changes":           {same, "PATCH", "", m{"name": "x", "scopes": []string{}, "limits": nil}, "body.limits"},
		"take the plan of an unlimited key":      {unlimited, "PATCH", "", m{"plan": "free"}, "body.plan"},
		"limits by metadata":                     {same, "PATCH", "", m{"metadata": m{"plan": "pro"}}, "body.metadata"},
		"name what there is":                     {same, "PATCH", "", m{"plan": "free", "limits": []m{hourJSON}, "name": "x"}, ""},
		"name what a wider one has":              {pro, "PATCH", "", m{"plan": "pro", "limits": []m{hourJSON}}, ""},
		"reset a key":                            {same, "POST", "/reset-limits", nil, "-"},
		"reset one without limits":               {unlimited, "POST", "/reset-limits", nil, "-"},
		"reset another owner's":                  {bob, "POST", "/reset-limits", nil, "404"},
		"rotate an unlimited key":                {unlimited, "POST", "/rotate", rotate, "body.limits"},
		"rotate one of a wider plan":             {pro, "POST", "/rotate", rotate, "body.limits"},
		"rotate one without the own limit":       {planOnly, "POST", "/rotate", rotate, "body.limits"},
		"rotate one that overrides the plan":     {raised, "POST", "/rotate", rotate, "body.limits"},
		"rotate one of a longer window":          {longer, "POST", "/rotate", rotate, "body.limits"},
		"rotate one of the same limits":          {same, "POST", "/rotate", rotate, ""},
		"rotate a tighter one":                   {tighter, "POST", "/rotate", rotate, ""},
		"rotate one of the same by other names":  {renamed, "POST", "/rotate", rotate, ""},
		"extend an unlimited key":                {unlimited, "PATCH", "", extend, "body.limits"},
		"extend one of a wider plan":             {pro, "PATCH", "", extend, "body.limits"},
		"extend one of the same limits":          {same, "PATCH", "", extend, ""},
		"extend a wider one by rotation":         {pro, "POST", "/rotate", m{"grace_seconds": 0, "expires_at": noon.Add(2 * time.Hour)}, "body.limits"},
		"add a scope to a wider one":             {pro, "PATCH", "", m{"scopes": []string{"orders:read", "orders:write"}}, "body.limits"},
		"add a scope to one of the same":         {same, "PATCH", "", m{"scopes": []string{"orders:read", "orders:write"}}, ""},
		"take from a wider one":                  {pro, "PATCH", "", m{"scopes": []string{}, "expires_at": noon.Add(time.Minute), "description": "x"}, ""},
		"revoke a wider one":                     {pro, "POST", "/revoke", nil, ""},
		"delete a wider one":                     {pro, "DELETE", "", nil, ""},
		"see the plans":                          {nil, "GET", "/plans", nil, "-"},
		"see the limits of another owner's":      {bob, "GET", "/limits", nil, "404"},
		"see the usage of another owner's":       {bob, "GET", "/usage", nil, "404"},
		"see the usage of another owner":         {nil, "GET", "/usage?owner=bob", nil, "query.owner"},
		"see what is left of one's own":          {pro, "GET", "/limits", nil, ""},
		"see the usage of one's own":             {pro, "GET", "/usage", nil, ""},
		"see the usage of oneself":               {nil, "GET", "/usage", nil, ""},
		"a merge patch with limits in a nesting": {same, "PATCH", "", m{"metadata": m{"limits": nil}}, ""}, // it removes what is not there
	} {
		t.Run(name, func(t *testing.T) {
			path := "/keys"
			var before keystore.Key
			switch {
			case test.of != nil:
				before, _ = s.key(*test.of)
				path += "/" + before.ID + test.path
			case test.path != "":
				path = test.path
			}
			got := s.do(request{method: test.method, path: path, token: self, body: test.body})
			switch test.location {
			case "":
				require.Less(t, got.StatusCode, 300, got.raw)
				return
			case "404":
				got.want(t, 404, "not_found")
			case "-":
				got.want(t, 403, "beyond_grant")
				require.NotContains(t, got.body, "location")
			default:
				got.want(t, 403, "beyond_grant").at(t, test.location)
			}
			if test.of != nil {
				assert.Equal(t, before, s.get(before.ID))
			}
		})
	}

	// What the keys that were made have.
	made := s.do(request{method: "POST", path: "/keys", token: self, body: m{}}).want(t, 201, "")
	k := s.get(made.body["key"].(map[string]any)["id"].(string))
	assert.Equal(t, "free", k.Plan)
	assert.Equal(t, selfKey.Limits, k.Limits)
	// A key rotates itself, and keeps its limits and what is spent of them.
	spent, err := s.ks.LimitsOf(t.Context(), selfKey.ID)
	require.NoError(t, err)
	rotated := s.do(request{method: "POST", path: "/keys/" + selfKey.ID + "/rotate", token: self, body: rotate}).want(t, 200, "")
	after, err := s.ks.LimitsOf(t.Context(), selfKey.ID)
	require.NoError(t, err)
	require.Equal(t, "hour", after[1].Name)
	assert.Less(t, after[1].Remaining, int64(10_000-1), "the requests above")
	assert.Equal(t, spent[1].Remaining-1, after[1].Remaining, "and the rotation itself")
	// It does not escape a limit that is lowered, by a key that it made before.
	self = rotated.body["token"].(string)
	_, err = s.ks.Update(t.Context(), selfKey.ID, func(c *keystore.Changes) error {
		c.Limits = []keystore.Limit{l("hour", 5000, time.Hour)}
		return nil
	})
	require.NoError(t, err)
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", token: self, body: rotate}).want(t, 403, "beyond_grant").at(t, "body.limits")
}

// TestEnableAndLimits: a key whose limits an administrator raised while it was
// disabled is no way around.
func TestEnableAndLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, nil)
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}, Plan: "free"})
	for plan, status := range map[string]int{"free": 200, "pro": 403, "": 403} {
		k, _ := s.key(keystore.KeyParams{Owner: "alice", Plan: "free"})
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/disable", token: self}).want(t, 200, "")
		_, err := s.ks.Update(t.Context(), k.ID, func(c *keystore.Changes) error { c.Plan = plan; return nil })
		require.NoError(t, err)
		code := ""
		if status == 403 {
			code = "beyond_grant"
		}
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/enable", token: self}).want(t, status, code)
		assert.Equal(t, status == 403, s.get(k.ID).Disabled)
	}
}

// TestGrantsOfLimits: a program says which limits the keys of its users get, and may
// let them set others.
func TestGrantsOfLimits(t *testing.T) {
	grant := Grant{Owner: "alice", Plan: "free", Limits: []keystore.Limit{{Name: "burst", Requests: 5, Window: time.Second}}}
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, as(grant))
	made := s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 201, "")
	key := made.body["key"].(map[string]any)
	assert.Equal(t, "free", key["plan"])
	assert.Len(t, key["limits"], 1)
	s.do(request{method: "POST", path: "/keys/" + key["id"].(string) + "/rotate", body: m{"grace_seconds": 0}}).want(t, 200, "")
	s.do(request{method: "GET", path: "/plans"}).want(t, 403, "beyond_grant")

	// Without limits in the Grant, keys have none, and any can be rotated.
	s = newSite(t, nil, keystore.Options{Plans: somePlans}, as(Grant{Owner: "alice"}))
	pro, _ := s.key(keystore.KeyParams{Owner: "alice", Plan: "pro"})
	s.do(request{method: "POST", path: "/keys/" + pro.ID + "/rotate", body: m{"grace_seconds": 0}}).want(t, 200, "")
	s.do(request{method: "PATCH", path: "/keys/" + pro.ID, body: m{"plan": "free"}}).want(t, 403, "beyond_grant")
	s.do(request{method: "POST", path: "/keys", body: m{"plan": "free"}}).want(t, 403, "beyond_grant")

	// With SetLimits, of the own keys and of no other's.
	s = newSite(t, nil, keystore.Options{Plans: somePlans}, as(Grant{Owner: "alice", SetLimits: true, Plan: "free"}))
	mine, token := s.key(keystore.KeyParams{Owner: "alice", Plan: "pro", Limits: perDay(2)})
	foreign, _ := s.key(keystore.KeyParams{Owner: "bob", Plan: "pro"})
	_, err := s.ks.Lookup(t.Context(), token)
	require.NoError(t, err)
	s.do(request{method: "POST", path: "/keys/" + mine.ID + "/reset-limits"}).want(t, 204, "")
	states, err := s.ks.LimitsOf(t.Context(), mine.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 2, states[1].Remaining)
	s.do(request{method: "PATCH", path: "/keys/" + mine.ID, body: m{"plan": nil, "limits": nil}}).want(t, 200, "")
	s.do(request{method: "PATCH", path: "/keys/" + foreign.ID, body: m{"plan": nil}}).want(t, 404, "not_found")
	s.do(request{method: "POST", path: "/keys/" + foreign.ID + "/reset-limits"}).want(t, 404, "not_found")
	s.do(request{method: "GET", path: "/plans"}).want(t, 200, "")
	made = s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 201, "")
	assert.Equal(t, "", made.body["key"].(map[string]any)["plan"], "who sets them says which")
}

// TestRacesOfLimits lets the holder of a limited key rotate another one
// while an administrator widens and narrows its limits: no token comes of a key that
// is wider.
func TestRacesOfLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, nil)
	selfKey, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}, Plan: "free"})
	target, _ := s.key(keystore.KeyParams{Owner: "alice", Plan: "free", ExpiresAt: inDays(10)})
	const callers, rounds = 16, 40
	var wg sync.WaitGroup
	var issued, refused atomic.Int64
	goesOn := func(n int) bool {
		return n < rounds || n < 50*rounds && (issued.Load() == 0 || refused.Load() == 0)
	}
	for i := range callers {
		wg.Go(func() {
			for n := 0; goesOn(n); n++ {
				if i%4 == 0 { // the administrator, past the API
					plan := []string{"free", "pro", ""}[n%3]
					s.ks.Update(t.Context(), target.ID, func(c *keystore.Changes) error { c.Plan = plan; return nil })
					continue
				}
				got := s.do(request{method: "POST", path: "/keys/" + target.ID + "/rotate", token: self, body: m{"grace_seconds": 0}})
				switch got.StatusCode {
				case 200:
					issued.Add(1)
					assertWithin(t, selfKey, got.body["key"].(map[string]any)["plan"].(string), nil, "rotated")
				case 403:
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	assert.NotZero(t, issued.Load(), "no rotation won a race")
	assert.NotZero(t, refused.Load(), "no rotation lost a race")
}

// TestLimitsChangedInBetween: an administrator changes the plan of a key between the
// moment that a change was judged and that it is written.
func TestLimitsChangedInBetween(t *testing.T) {
	between := func() {}
	store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		if c.Method == faulty.Update {
			meanwhile := between
			between = func() {}
			meanwhile()
		}
		return nil
	})
	s := newSite(t, store, keystore.Options{Plans: somePlans, Now: atNoon}, nil)
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}, Plan: "free"})
	for name, test := range map[string]struct {
		from, to, location string
		disabled           bool
		r                  request
	}{
		"name the plan": {"pro", "free", "body.plan", false, request{method: "PATCH", body: m{"plan": "pro", "name": "x"}}},
		"extend":        {"free", "pro", "body.limits", false, request{method: "PATCH", body: m{"expires_at": nil}}},
		"enable":        {"free", "pro", "body.limits", true, request{method: "POST", path: "/enable"}},
		"rotate":        {"free", "pro", "body.limits", false, request{method: "POST", path: "/rotate", body: m{"grace_seconds": 0}}},
	} {
		k, _ := s.key(keystore.KeyParams{Owner: "alice", Plan: test.from, ExpiresAt: noon.Add(day)})
		path := "/keys/" + k.ID
		if test.disabled {
			s.do(request{method: "POST", path: path + "/disable", token: self}).want(t, 200, "")
		}
		var changed keystore.Key
		between = func() {
			var err error
			changed, err = s.ks.Update(t.Context(), k.ID, func(c *keystore.Changes) error { c.Plan = test.to; return nil })
			require.NoError(t, err)
		}
		test.r.path, test.r.token = path+test.r.path, self
		s.do(test.r).want(t, 403, "beyond_grant").at(t, test.location)
		assert.Equal(t, test.to, changed.Plan, name)
		assert.Equal(t, changed, s.get(k.ID), name)
	}
}

// TestResetRace: resets while others spend lose no count but those from before, and
// never let more than the limit pass between two of them.
func TestResetRace(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, as(everything))
	k, token := s.key(keystore.KeyParams{Owner: "alice", Limits: perDay(10)})
	const resets = 5
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				got := s.do(request{method: "POST", path: "/lookup", body: m{"token": token}})
				if strings.Contains(got.raw, `"valid":true`) {
					passed.Add(1)
				}
			}
		})
	}
	for range resets {
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/reset-limits"}).want(t, 204, "")
	}
	wg.Wait()
	assert.LessOrEqual(t, passed.Load(), int64(10*(resets+1)))
	assert.GreaterOrEqual(t, passed.Load(), int64(10))
}
