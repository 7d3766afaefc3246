package adminapi

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// usageSite has three lookups of alice's first key at noon, two of them with a cost of
// 10, and one of each kind an hour and a day later; and one of another key of hers,
// that was deleted, and one of bob's.
func usageSite(t *testing.T, authorize ...Grant) (s *site, mine, deleted, foreign keystore.Key) {
	now := noon
	var opts keystore.Options
	opts.Now = func() time.Time { return now }
	s = newSite(t, nil, opts, nil)
	if len(authorize) > 0 {
		s = newSite(t, nil, opts, as(authorize[0]))
	}
	look := func(token string, p keystore.LookupParams, times int) {
		for range times {
			s.ks.LookupWith(t.Context(), token, p)
		}
	}
	mine, token := s.key(keystore.KeyParams{Owner: "alice", Limits: []keystore.Limit{{Name: "hour", Requests: 22, Window: time.Hour}}})
	deleted, gone := s.key(keystore.KeyParams{Owner: "alice"})
	foreign, stranger := s.key(keystore.KeyParams{Owner: "bob"})
	look(token, keystore.LookupParams{}, 1)
	look(token, keystore.LookupParams{Cost: 10}, 2)
	look(token, keystore.LookupParams{Cost: 5}, 4)
	look(token, keystore.LookupParams{Scopes: []string{"x"}}, 3)
	look(gone, keystore.LookupParams{}, 1)
	look(stranger, keystore.LookupParams{}, 1)
	require.NoError(t, s.ks.Delete(t.Context(), deleted.ID))
	now = noon.Add(time.Hour)
	look(token, keystore.LookupParams{}, 1)
	now = noon.Add(day)
	look(token, keystore.LookupParams{}, 1)
	return s, mine, deleted, foreign
}

type hours map[string][4]float64 // by start: allowed, limited, missing scope, cost

func (r reply) usage(t *testing.T) hours {
	t.Helper()
	r.want(t, 200, "")
	out := hours{}
	for _, u := range r.body["usage"].([]any) {
		u := u.(map[string]any)
		out[u["start"].(string)] = [4]float64{u["allowed"].(float64), u["limited"].(float64), u["missing_scope"].(float64), u["cost"].(float64)}
	}
	return out
}

func TestUsage(t *testing.T) {
	s, mine, deleted, foreign := usageSite(t, everything)
	ask := func(path string) hours { return s.do(request{method: "GET", path: path}).usage(t) }
	const first, second = "2030-05-06T00:00:00Z", "2030-05-07T00:00:00Z"
	days := hours{first: {4, 4, 3, 22}, second: {1, 0, 0, 1}}
	byHour := hours{"2030-05-06T12:00:00Z": {3, 4, 3, 21}, "2030-05-06T13:00:00Z": {1, 0, 0, 1}, "2030-05-07T12:00:00Z": {1, 0, 0, 1}}
	of := "/keys/" + mine.ID + "/usage"
	assert.Equal(t, days, ask(of))
	assert.Equal(t, days, ask(of+"?by=day"))
	assert.Equal(t, byHour, ask(of+"?by=hour"))
	assert.Equal(t, hours{"2030-05-06T13:00:00Z": {1, 0, 0, 1}}, ask(of+"?by=hour&from=2030-05-06T13:00:00Z&to=2030-05-07T12:00:00Z"), "the end is not in it")
	assert.Equal(t, hours{first: {1, 0, 0, 1}}, ask(of+"?from=2030-05-06T12:00:01Z&to=2030-05-07T00:00:00Z"), "part of a day")
	assert.Equal(t, hours{}, ask(of+"?from=2030-05-01T00:00:00Z&to=2030-05-01T00:00:00Z"))
	assert.Equal(t, hours{}, ask("/keys/"+mine.ID+"/usage?to=2030-05-06T00:00:00Z"))
	assert.Equal(t, days, ask(of+"?to=2030-06-01T12:00:00%2B02:00"))
	assert.Equal(t, "{\"usage\":[]}\n", s.do(request{method: "GET", path: of + "?to=2029-05-06T00:00:00Z"}).raw)

	// Usage outlives the key; what never was is not found.
	assert.Equal(t, hours{first: {1, 0, 0, 1}}, ask("/keys/"+deleted.ID+"/usage"))
	s.do(request{method: "GET", path: "/keys/00000000zzzzzzzz/usage"}).want(t, 404, "not_found")
	s.do(request{method: "GET", path: "/keys/x/usage"}).want(t, 404, "not_found")

	assert.Equal(t, hours{first: {5, 4, 3, 23}, second: {1, 0, 0, 1}}, ask("/usage?owner=alice"))
	assert.Len(t, ask("/usage?owner=alice&by=hour"), 3)
	assert.Equal(t, ask("/keys/"+foreign.ID+"/usage"), ask("/usage?owner=bob"))
	assert.Equal(t, hours{}, ask("/usage?owner=nobody"))
}

// TestUsageOfOneOwner: a caller who is bound to an owner sees the keys that there are,
// and the sum of all that there were.
func TestUsageOfOneOwner(t *testing.T) {
	s, mine, deleted, foreign := usageSite(t, Grant{Owner: "alice"})
	ask := func(path string) reply { return s.do(request{method: "GET", path: path}) }
	assert.Len(t, ask("/keys/"+mine.ID+"/usage").usage(t), 2)
	absent := ask("/keys/00000000zzzzzzzz/usage").want(t, 404, "not_found").raw
	for _, id := range []string{deleted.ID, foreign.ID} {
		assert.Equal(t, absent, ask("/keys/"+id+"/usage").want(t, 404, "not_found").raw)
	}
	all := hours{"2030-05-06T00:00:00Z": {5, 4, 3, 23}, "2030-05-07T00:00:00Z": {1, 0, 0, 1}}
	assert.Equal(t, all, ask("/usage").usage(t))
	assert.Equal(t, all, ask("/usage?owner=alice").usage(t))
	ask("/usage?owner=bob").want(t, 403, "beyond_grant").at(t, "query.owner")
	ask("/usage?owner=nobody").want(t, 403, "beyond_grant").at(t, "query.owner")
}

func TestFaultsOfUsage(t *testing.T) {
	s := newSite(t, nil, keystore.Options{Now: atNoon}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	for query, location := range map[string]string{
		"by=week":                   "query.by",
		"by=Day":                    "query.by",
		"from=yesterday":            "query.from",
		"to=2030":                   "query.to",
		"from=2030-05-07T00:00:00Z": "query.from",
		"from=2029-05-05T11:59:59Z": "query.from",
		"by=hour&from=2030-04-05T11:59:59Z&to=2030-05-06T12:00:00Z": "query.from",
		"from=0001-01-02T00:00:00Z&to=9999-01-01T00:00:00Z":         "query.from",
		"from=9999-01-01T00:00:00Z&to=9999-01-02T00:00:00Z":         "query.from",
		"from=1969-12-31T00:00:00Z&to=1970-01-02T00:00:00Z":         "query.from",
		"from=8888-01-01T00:00:00Z&to=8888-12-31T23:59:59Z":         "query.to",
		"from=2030-05-01T00:00:00Z&from=2030-05-02T00:00:00Z":       "query.from",
		"to=":                       "query.to",
		"hour=2030-05-01T00:00:00Z": "query",
	} {
		s.do(request{method: "GET", path: "/keys/" + k.ID + "/usage?" + query}).want(t, 422, "invalid").at(t, location)
		s.do(request{method: "GET", path: "/usage?owner=alice&" + query}).want(t, 422, "invalid").at(t, location)
	}
	for _, query := range []string{"from=2029-05-05T12:00:00Z", "by=hour&from=2030-04-05T12:00:00Z", "from=2030-05-06T12:00:00Z&to=2030-05-06T12:00:00Z", "to=2999-01-01T00:00:00Z"} {
		s.do(request{method: "GET", path: "/keys/" + k.ID + "/usage?" + query}).want(t, 200, "")
	}
	s.do(request{method: "GET", path: "/usage"}).want(t, 422, "invalid").at(t, "query.owner")
	for _, owner := range []string{"\x00", "\xff", string(make([]byte, 257))} {
		s.do(request{method: "GET", path: "/usage?owner=" + url.QueryEscape(owner)}).want(t, 422, "invalid").at(t, "query.owner")
	}
	s.do(request{method: "GET", path: "/keys/" + k.ID + "/usage?owner=alice"}).want(t, 422, "invalid").at(t, "query")
	s.do(request{method: "GET", path: "/keys/" + k.ID + "/limits?by=day"}).want(t, 422, "invalid").at(t, "query")
}

// TestUsageIsBounded: the longest answers are 744 hours and 366 days, and take a few
// calls of the store.
func TestUsageIsBounded(t *testing.T) {
	store := faulty.New(memory.New(), nil)
	now := noon.Truncate(day)
	s := newSite(t, store, keystore.Options{Now: func() time.Time { return now }, UsageRetention: keystore.Never, UsageInterval: time.Hour}, as(everything))
	_, token := s.key(keystore.KeyParams{Owner: "alice"})
	for range 800 {
		_, err := s.ks.Lookup(t.Context(), token)
		require.NoError(t, err)
		now = now.Add(time.Hour)
	}
	s.do(request{method: "GET", path: "/usage?owner=alice"}) // writes what is counted
	before := store.Calls(faulty.Usage)
	path := "/usage?owner=alice&by=hour&to=" + now.Format(time.RFC3339) + "&from=" + now.Add(-31*day).Format(time.RFC3339)
	assert.Len(t, s.do(request{method: "GET", path: path}).usage(t), 744)
	path = "/usage?owner=alice&to=" + now.Format(time.RFC3339) + "&from=" + now.Add(-366*day).Format(time.RFC3339)
	assert.Len(t, s.do(request{method: "GET", path: path}).usage(t), 34)
	assert.LessOrEqual(t, store.Calls(faulty.Usage)-before, 1+4)
}
