package adminapi

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

var somePlans = map[string][]keystore.Limit{
	"free": {{Name: "day", Requests: 1_000_000, Window: day}},
	"pro":  {{Name: "day", Requests: 10_000_000, Window: day}, {Name: "burst", Requests: 1000, Window: time.Second}},
	"none": {},
}

// noon is where the tests of limits stand, far from the edges of windows.
var noon = time.Date(2030, 5, 6, 12, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

func perDay(requests int64) []keystore.Limit {
	return []keystore.Limit{{Name: "day", Requests: requests, Window: day}}
}

func limitJSON(name string, requests, seconds int) m {
	return m{"name": name, "requests": requests, "window_seconds": seconds}
}

// TestLimits takes the limits of a key through the API.
func TestLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans, Now: atNoon}, as(everything))
	send := func(method, path string, body any, status int) reply {
		return s.do(request{method: method, path: path, body: body}).want(t, status, "")
	}
	made := send("POST", "/keys", m{"owner": "alice", "plan": "pro", "limits": []m{limitJSON("day", 3, 86400), limitJSON("a", 9, 60)}}, 201)
	key := made.body["key"].(map[string]any)
	id, token := key["id"].(string), made.body["token"].(string)
	own := []any{
		map[string]any{"name": "a", "requests": 9.0, "window_seconds": 60.0},
		map[string]any{"name": "day", "requests": 3.0, "window_seconds": 86400.0},
	}
	assert.Equal(t, "pro", key["plan"])
	assert.Equal(t, own, key["limits"])
	shown := send("GET", "/keys/"+id, nil, 200)
	assert.Equal(t, own, shown.body["limits"])
	assert.Equal(t, "pro", shown.body["plan"])

	left := func() map[string]any {
		out := map[string]any{}
		for _, l := range send("GET", "/keys/"+id+"/limits", nil, 200).body["limits"].([]any) {
			l := l.(map[string]any)
			out[l["name"].(string)] = l["remaining"]
		}
		return out
	}
	assert.Equal(t, map[string]any{"a": 9.0, "burst": 1000.0, "day": 3.0}, left())
	_, err := s.ks.LookupWith(t.Context(), token, keystore.LookupParams{Cost: 2})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": 7.0, "burst": 998.0, "day": 1.0}, left())
	first := send("GET", "/keys/"+id+"/limits", nil, 200).body["limits"].([]any)[0]
	assert.Equal(t, map[string]any{"name": "a", "requests": 9.0, "window_seconds": 60.0, "remaining": 7.0, "reset": "2030-05-06T12:01:00Z"}, first)

	reset := send("POST", "/keys/"+id+"/reset-limits", m{}, 204)
	assert.Empty(t, reset.raw)
	assert.Equal(t, map[string]any{"a": 9.0, "burst": 1000.0, "day": 3.0}, left())
	assert.Equal(t, `"1"`, send("GET", "/keys/"+id, nil, 200).Header.Get("ETag"), "the key is what it was")

	// Below what is spent, and what it shows.
	_, err = s.ks.LookupWith(t.Context(), token, keystore.LookupParams{Cost: 3})
	require.NoError(t, err)
	changed := s.do(request{method: "PATCH", path: "/keys/" + id, body: m{"limits": []m{limitJSON("day", 1, 86400)}}, header: map[string]string{"If-Match": `"1"`}}).want(t, 200, "")
	assert.Len(t, changed.body["limits"], 1)
	assert.Equal(t, map[string]any{"burst": 997.0, "day": 0.0}, left())
	s.do(request{method: "PATCH", path: "/keys/" + id, body: m{"plan": "free"}, header: map[string]string{"If-Match": `"1"`}}).want(t, 412, "precondition_failed")

	// Null clears, each on its own.
	changed = send("PATCH", "/keys/"+id, m{"limits": nil}, 200)
	assert.Equal(t, []any{}, changed.body["limits"])
	assert.Equal(t, "pro", changed.body["plan"])
	changed = send("PATCH", "/keys/"+id, m{"plan": nil, "limits": []m{limitJSON("day", 5, 86400)}}, 200)
	assert.Equal(t, "", changed.body["plan"])
	changed = send("PATCH", "/keys/"+id, m{"plan": "free", "limits": []m{}}, 200)
	assert.Equal(t, "free", changed.body["plan"])
	assert.Equal(t, []any{}, changed.body["limits"])
	send("PATCH", "/keys/"+id, m{"plan": ""}, 200)
	assert.Empty(t, left())

	plans := send("GET", "/plans", nil, 200)
	assert.JSONEq(t, `{"plans": [
		{"name": "free", "limits": [{"name": "day", "requests": 1000000, "window_seconds": 86400}]},
		{"name": "none", "limits": []},
		{"name": "pro", "limits": [{"name": "burst", "requests": 1000, "window_seconds": 1}, {"name": "day", "requests": 10000000, "window_seconds": 86400}]}]}`, plans.raw)
}

// TestFaultsOfLimits: nothing that could not be enforced is accepted, and what is
// refused changes nothing.
func TestFaultsOfLimits(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice", Plan: "free"})
	many := []m{}
	for i := range 9 {
		many = append(many, limitJSON("x"+strconv.Itoa(i), 1, 1))
	}
	const huge = `{"owner":"a","limits":[{"name":"day","requests":%,"window_seconds":86400}]}`
	for name, test := range map[string]struct {
		body     any
		location string
	}{
		"a plan that there is not":  {m{"plan": "gold"}, "body.plan"},
		"a plan in another case":    {m{"plan": "Free"}, "body.plan"},
		"a number for a plan":       {m{"plan": 1}, "body.plan"},
		"no array":                  {m{"limits": m{"day": 100}}, "body.limits"},
		"a text":                    {m{"limits": []string{"day 100/24h"}}, "body.limits"},
		"null for a limit":          {m{"limits": []any{nil}}, "body.limits"},
		"no name":                   {m{"limits": []m{{"requests": 1, "window_seconds": 1}}}, "body.limits"},
		"no window":                 {m{"limits": []m{{"name": "a", "requests": 1}}}, "body.limits"},
		"a member in another case":  {m{"limits": []m{{"Name": "a", "requests": 1, "window_seconds": 1}}}, "body.limits"},
		"an unknown member":         {m{"limits": []m{{"name": "a", "requests": 1, "window_seconds": 1, "burst": 1}}}, "body.limits"},
		"null for a number":         {m{"limits": []m{{"name": "a", "requests": nil, "window_seconds": 1}}}, "body.limits"},
		"a name":                    {m{"limits": []m{limitJSON("Day", 1, 1)}}, "body.limits"},
		"an empty name":             {m{"limits": []m{limitJSON("", 1, 1)}}, "body.limits"},
		"two of one name":           {m{"limits": []m{limitJSON("a", 1, 1), limitJSON("a", 2, 60)}}, "body.limits"},
		"no requests":               {m{"limits": []m{limitJSON("a", 0, 1)}}, "body.limits"},
		"negative requests":         {m{"limits": []m{limitJSON("a", -1, 1)}}, "body.limits"},
		"half a request":            {strings.Replace(huge, "%", "0.5", 1), "body.limits"},
		"too many requests":         {strings.Replace(huge, "%", "1000000000000000", 1), "body.limits"},
		"requests that overflow":    {strings.Replace(huge, "%", "1e400", 1), "body.limits"},
		"no time":                   {m{"limits": []m{limitJSON("a", 1, 0)}}, "body.limits"},
		"too long a time":           {m{"limits": []m{limitJSON("a", 1, 366*86400+1)}}, "body.limits"},
		"a time that overflows":     {m{"limits": []m{limitJSON("a", 1, int(maxSeconds+1))}}, "body.limits"},
		"nine":                      {m{"limits": many}, "body.limits"},
		"nine with those of a plan": {m{"plan": "free", "limits": many[1:]}, "body.limits"},
	} {
		t.Run(name, func(t *testing.T) {
			created := test.body
			if fields, ok := created.(m); ok {
				withOwner := m{"owner": "alice"}
				for name, value := range fields {
					withOwner[name] = value
				}
				created = withOwner
			}
			s.do(request{method: "POST", path: "/keys", body: created}).want(t, 422, "invalid").at(t, test.location)
			if text, ok := test.body.(string); ok {
				test.body = strings.Replace(text, `"owner":"a",`, "", 1)
			}
			s.do(request{method: "PATCH", path: "/keys/" + k.ID, body: test.body}).want(t, 422, "invalid").at(t, test.location)
			assert.Equal(t, k, s.get(k.ID))
		})
	}
	pages, _ := s.pages("", "")
	assert.Equal(t, [][]string{{k.ID}}, pages, "no key was made")
	s.do(request{method: "POST", path: "/keys", body: strings.Replace(huge, "%", "999999999999999", 1)}).want(t, 201, "")
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "alice", "plan": nil}}).want(t, 422, "invalid").at(t, "body.plan")
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "alice", "limits": nil}}).want(t, 422, "invalid").at(t, "body.limits")
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "alice", "plan": "free", "limits": many[2:]}}).want(t, 201, "")
}

// TestNoCounter: on a backend that cannot count limits are refused, and never
// ignored. Without limits it works as before.
func TestNoCounter(t *testing.T) {
	s := newSite(t, struct{ backend.Backend }{memory.New()}, keystore.Options{Plans: somePlans}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	for _, r := range []request{
		{method: "POST", path: "/keys", body: m{"owner": "alice", "plan": "free"}},
		{method: "POST", path: "/keys", body: m{"owner": "alice", "limits": []m{limitJSON("a", 1, 1)}}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{"plan": "none"}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{"limits": []m{limitJSON("a", 1, 1)}}},
		{method: "POST", path: "/keys/" + k.ID + "/reset-limits"},
	} {
		got := s.do(r).want(t, 422, "invalid")
		assert.Contains(t, got.body["detail"], "cannot count", r)
	}
	assert.Equal(t, k, s.get(k.ID))
	for _, path := range []string{"/keys/" + k.ID + "/usage", "/usage?owner=alice"} {
		got := s.do(request{method: "GET", path: path}).want(t, 422, "invalid")
		assert.Contains(t, got.body["detail"], "keeps no usage")
	}
	assert.Equal(t, "{\"limits\":[]}\n", s.do(request{method: "GET", path: "/keys/" + k.ID + "/limits"}).want(t, 200, "").raw)
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "alice", "limits": []m{}, "plan": ""}}).want(t, 201, "")

	// What the Grant says cannot be done; the client can do nothing about it.
	grant := Grant{Owner: "alice", Limits: perDay(1)}
	s = newSite(t, struct{ backend.Backend }{memory.New()}, keystore.Options{}, as(grant))
	s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 503, "unavailable")
	assert.Contains(t, s.log.String(), "cannot count")
}

// TestUnknownPlanOfAGrant: a plan that was misspelt in the program does not make
// keys without limits.
func TestUnknownPlanOfAGrant(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, as(Grant{Owner: "alice", Plan: "fre"}))
	unlimited, _ := s.key(keystore.KeyParams{Owner: "alice"})
	s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 503, "unavailable")
	s.do(request{method: "POST", path: "/keys/" + unlimited.ID + "/rotate", body: m{"grace_seconds": 0}}).want(t, 503, "unavailable")
	assert.Contains(t, s.log.String(), "Options.Plans")
	s = newSite(t, nil, keystore.Options{Plans: somePlans}, as(Grant{Owner: "alice", Limits: []keystore.Limit{{Name: "Day", Requests: 1, Window: day}}}))
	s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 503, "unavailable")
	assert.Contains(t, s.log.String(), "limits of the Grant")
}

// TestLimitedCaller: the API counts the requests of a key as any service does.
func TestLimitedCaller(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, nil)
	k, token := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin}, Limits: perDay(3)})
	_, other := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin}})
	list := request{method: "GET", path: "/keys", token: token}
	for range 3 {
		s.do(list).want(t, 200, "")
	}
	got := s.do(list).want(t, 429, "rate_limited")
	assert.Equal(t, "43200", got.Header.Get("Retry-After"))
	assert.Equal(t, `"day";q=3;w=86400`, got.Header.Get("RateLimit-Policy"))
	assert.Equal(t, `"day";r=0;t=43200`, got.Header.Get("RateLimit"))
	assert.Equal(t, []any{"day"}, got.body["violated-policies"])
	// It cannot help itself, and another can.
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/reset-limits", token: token}).want(t, 429, "rate_limited")
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/reset-limits", token: other}).want(t, 204, "")
	s.do(list).want(t, 200, "")
	require.Equal(t, 200, s.do(request{method: "GET", path: "/openapi.json", token: token}).StatusCode)
}

// TestLimitedStranger: a key that may do nothing here spends 1 for being told so.
func TestLimitedStranger(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, nil)
	_, token := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}, Limits: perDay(2)})
	for range 2 {
		s.do(request{method: "GET", path: "/keys", token: token}).want(t, 403, "insufficient_scope")
	}
	s.do(request{method: "GET", path: "/keys", token: token}).want(t, 429, "rate_limited")
}

// TestCostOfTheAPI: a request is 1, whatever requests to the program around cost.
func TestCostOfTheAPI(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, nil)
	auth, err := httpauth.New(s.ks, &httpauth.Options{Cost: func(*http.Request) int64 { return 1000 }})
	require.NoError(t, err)
	k, token := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}, Limits: perDay(3)})
	r := request{method: "GET", path: "/keys", token: token}.build(t)
	_, err = ByKey(auth)(r)
	require.NoError(t, err)
	states, err := s.ks.LimitsOf(t.Context(), k.ID)
	require.NoError(t, err)
	assert.EqualValues(t, 2, states[0].Remaining)
}

// TestUnknownPlanOfAKey: one whose plan this process does not have is an outage, told
// to nobody as a fault of theirs; it can be given another plan.
func TestUnknownPlanOfAKey(t *testing.T) {
	store := memory.New()
	before := newSite(t, store, keystore.Options{Plans: somePlans}, as(everything))
	k, token := before.key(keystore.KeyParams{Owner: "alice", Plan: "pro"})
	s := newSite(t, store, keystore.Options{Plans: map[string][]keystore.Limit{"free": perDay(1)}}, as(everything))
	s.do(request{method: "POST", path: "/lookup", body: m{"token": token}}).want(t, 503, "unavailable")
	s.do(request{method: "GET", path: "/keys/" + k.ID + "/limits"}).want(t, 503, "unavailable")
	s.do(request{method: "PATCH", path: "/keys/" + k.ID, body: m{"name": "still"}}).want(t, 200, "")
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 60}}).want(t, 200, "")
	s.do(request{method: "PATCH", path: "/keys/" + k.ID, body: m{"plan": "free"}}).want(t, 200, "")
	s.do(request{method: "POST", path: "/lookup", body: m{"token": token}}).want(t, 200, "")

	stranger := newSite(t, store, keystore.Options{}, as(Grant{Owner: "bob"}))
	got := stranger.do(request{method: "POST", path: "/lookup", body: m{"token": token}}).want(t, 200, "")
	assert.Equal(t, "{\"valid\":false,\"code\":\"invalid\"}\n", got.raw)
}
