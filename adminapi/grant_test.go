package adminapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/httpauth"
)

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		granted  string
		reserved bool
		scope    string
		want     bool
	}{
		{"orders:read", false, "orders:read", true},
		{"orders:read", false, "orders:reader", false},
		{"orders:read", false, "orders", false},
		{"orders:*", false, "orders:read", true},
		{"orders:*", false, "orders:*", true},
		{"orders:*", false, "orders:x:*", true},
		{"orders:*", false, "orders", false},
		{"orders:*", false, "orders2:x", false},
		{"orders:*", false, "*", false},
		{"orders:x:*", false, "orders:*", false},
		{"orders*", false, "orders2:x", false}, // not a scope, but an Authorize function may err
		{"*", false, "*", true},
		{"*", false, "orders:*", true},
		{"*", false, "keystore:self", false},
		{"*", false, "keystore", false},
		{"*", false, "keystore2:x", true},
		{"keystore:self", false, "keystore:self", false},
		{"keystore:*", false, "keystore:self", false},
		{"", true, "keystore:self", true},
		{"*", true, "keystore:admin", true},
		{"", true, "orders:read", false},
	} {
		g := Grant{Scopes: []string{test.granted}, Reserved: test.reserved}
		assert.Equal(t, test.want, g.covers(test.scope), "%+v", test)
	}
	assert.False(t, (&Grant{}).covers("orders:read"))
}

// TestAllows: a change that only takes away is allowed to everyone, and one that
// gives only within the grant, on the key as a whole.
func TestAllows(t *testing.T) {
	day := func(n int) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return inDays(n)
	}
	key := func(expires int, scopes ...string) keystore.Changes {
		return keystore.Changes{Scopes: scopes, ExpiresAt: day(expires), Metadata: map[string]string{}}
	}
	for name, test := range map[string]struct {
		bound         int // days; 0: none
		grant         []string
		before, after keystore.Changes
		location      string // "": allowed
	}{
		"nothing":                         {0, nil, key(0, "a"), key(0, "a"), ""},
		"a scope dropped":                 {0, nil, key(0, "a", "b"), key(0, "a"), ""},
		"a scope narrowed":                {0, nil, key(0, "a:*"), key(0, "a:b"), ""},
		"a scope narrowed beyond":         {0, nil, key(0, "a:*"), key(0, "b:b"), "body.scopes"},
		"a scope widened":                 {0, []string{"a:b"}, key(0, "a:b"), key(0, "a:*"), "body.scopes"},
		"a scope added":                   {0, []string{"a", "b"}, key(0, "a"), key(0, "a", "b"), ""},
		"a scope added to a stronger key": {0, []string{"b"}, key(0, "a"), key(0, "a", "b"), "body.scopes"},
		"a scope swapped":                 {0, []string{"a"}, key(0, "a"), key(0, "b"), "body.scopes"},
		"a scope added, too late":         {5, []string{"a", "b"}, key(6, "a"), key(6, "a", "b"), "body.expires_at"},
		"a reserved scope kept":           {0, []string{"a"}, key(0, "a", ScopeSelf), key(0, ScopeSelf), ""},
		"an expiry lowered":               {1, nil, key(9, "a"), key(8, "a"), ""},
		"an expiry set":                   {1, nil, key(0, "a"), key(8, "a"), ""},
		"an expiry raised":                {5, []string{"a"}, key(3, "a"), key(5, "a"), ""},
		"an expiry raised too far":        {5, []string{"a"}, key(3, "a"), key(6, "a"), "body.expires_at"},
		"an expiry raised, scopes":        {5, nil, key(3, "a"), key(4, "a"), "body.scopes"},
		"an expiry cleared":               {5, []string{"a"}, key(3, "a"), key(0, "a"), "body.expires_at"},
		"an expiry cleared, no bound":     {0, []string{"a"}, key(3, "a"), key(0, "a"), ""},
		"revived":                         {5, []string{"a"}, key(-3, "a"), key(5, "a"), ""},
		"revived too far":                 {5, []string{"a"}, key(-3, "a"), key(6, "a"), "body.expires_at"},
	} {
		g := Grant{Scopes: test.grant}
		if test.bound > 0 {
			g.ExpiresAt = time.Now().Add(time.Duration(test.bound)*24*time.Hour + time.Hour)
		}
		err := g.allows(&test.before, &test.after, nil)
		if test.location == "" {
			assert.NoError(t, err, name)
			continue
		}
		var p problem
		if assert.ErrorAs(t, err, &p, name) {
			assert.Equal(t, "beyond_grant", p.Code)
			assert.Equal(t, test.location, p.Location, name)
		}
	}
}

// TestByKey makes of a key what its scopes and its own end say.
func TestByKey(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	auth, err := httpauth.New(s.ks, nil)
	require.NoError(t, err)
	grant := func(token string) (Grant, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-API-Key", token)
		return ByKey(auth)(r)
	}

	k, token := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin, ScopeSelf}, ExpiresAt: inDays(9)})
	g, err := grant(token)
	require.NoError(t, err)
	assert.Equal(t, Grant{Actor: k.ID, AllOwners: true, Scopes: []string{"*"}, Reserved: true, Metadata: true, SetLimits: true, EnableAny: true, ExpiresAt: k.ExpiresAt, KeyID: k.ID, KeyGeneration: 1}, g)

	k, token = s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "keystore:verify", "orders:*", "a"}})
	g, err = grant(token)
	require.NoError(t, err)
	assert.Equal(t, Grant{Actor: k.ID, Owner: "alice", Scopes: []string{"a", "orders:*"}, KeyID: k.ID, KeyGeneration: 1}, g)

	// The older secret of a rotation hands out nothing that outlives it.
	_, k, err = s.ks.Rotate(t.Context(), k.ID, time.Hour, nil)
	require.NoError(t, err)
	g, err = grant(token)
	require.NoError(t, err)
	assert.Equal(t, k.GraceUntil, g.ExpiresAt)
	assert.Equal(t, 1, g.KeyGeneration)

	_, token = s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"*", "orders:*"}})
	_, err = grant(token)
	var failure *httpauth.Failure
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, http.StatusForbidden, failure.Status)
	assert.Equal(t, []string{ScopeSelf}, failure.Missing)
}

// TestAuthorize: what an Authorize function answers, and how that is told.
func TestAuthorize(t *testing.T) {
	for name, test := range map[string]struct {
		grant  Grant
		err    error
		status int
		code   string
	}{
		"nothing":    {Grant{}, nil, 403, "forbidden"},
		"forbidden":  {everything, ErrForbidden, 403, "forbidden"},
		"a failure":  {everything, &httpauth.Failure{Status: 401, Code: httpauth.CodeMissingCredentials, Detail: "Log in."}, 401, "missing_credentials"},
		"an outage":  {everything, errors.New("the session store is down"), 503, "unavailable"},
		"everything": {everything, nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil, keystore.Options{}, func(*http.Request) (Grant, error) { return test.grant, test.err })
			s.do(request{method: "GET", path: "/keys"}).want(t, test.status, test.code)
			s.do(request{method: "GET", path: "/openapi.json"}) // needs no key
		})
	}
}
