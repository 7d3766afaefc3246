package adminapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// TestLife takes a key through the API from its creation to its end.
func TestLife(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	admin := s.admin()
	send := func(method, path string, body any) reply {
		return s.do(request{method: method, path: path, token: admin, body: body})
	}

	made := send("POST", "/keys", m{"owner": "alice", "name": "ci", "scopes": []string{"orders:read"}, "metadata": m{"team": "web"}, "ttl_seconds": 3600}).want(t, 201, "")
	token := made.body["token"].(string)
	id := made.body["key"].(map[string]any)["id"].(string)
	assert.Equal(t, "/v1/keys/"+id, made.Header.Get("Location"))
	assert.Equal(t, `"1"`, made.Header.Get("ETag"))
	_, err := s.ks.Lookup(t.Context(), token, "orders:read")
	require.NoError(t, err)

	shown := send("GET", "/keys/"+id, nil).want(t, 200, "")
	assert.Equal(t, made.body["key"], shown.body)
	assert.Equal(t, `"1"`, shown.Header.Get("ETag"))
	for name, want := range (m{"owner": "alice", "name": "ci", "description": "", "prefix": "ks", "state": "active", "disabled": false, "generation": 1.0, "revision": 1.0, "revoked_at": nil, "last_used_at": nil, "grace_until": nil, "revoke_reason": ""}) {
		assert.Equal(t, want, shown.body[name], name)
	}

	changed := send("PATCH", "/keys/"+id, m{"name": nil, "scopes": []string{"orders:*"}, "metadata": m{"team": nil, "tier": "gold"}, "expires_at": nil}).want(t, 200, "")
	assert.Equal(t, "", changed.body["name"])
	assert.Equal(t, []any{"orders:*"}, changed.body["scopes"])
	assert.Equal(t, map[string]any{"tier": "gold"}, changed.body["metadata"])
	assert.Nil(t, changed.body["expires_at"])
	assert.Equal(t, `"2"`, changed.Header.Get("ETag"))

	rotated := send("POST", "/keys/"+id+"/rotate", m{"grace_seconds": 60, "expires_at": inDays(1)}).want(t, 200, "")
	assert.NotEqual(t, token, rotated.body["token"])
	assert.Equal(t, 2.0, rotated.body["key"].(map[string]any)["generation"])
	for _, works := range []string{token, rotated.body["token"].(string)} {
		send("POST", "/lookup", m{"token": works, "scopes": []string{"orders:x"}}).want(t, 200, "")
		_, err := s.ks.Lookup(t.Context(), works)
		require.NoError(t, err)
	}
	send("POST", "/keys/"+id+"/end-grace", nil).want(t, 200, "")
	_, err = s.ks.Lookup(t.Context(), token)
	require.ErrorIs(t, err, keystore.ErrExpired)

	off := send("POST", "/keys/"+id+"/disable", m{}).want(t, 200, "")
	assert.Equal(t, "disabled", off.body["state"])
	on := send("POST", "/keys/"+id+"/enable", nil).want(t, 200, "")
	assert.Equal(t, "active", on.body["state"])

	revoked := send("POST", "/keys/"+id+"/revoke", m{"reason": "left"}).want(t, 200, "")
	assert.Equal(t, "revoked", revoked.body["state"])
	assert.Equal(t, "left", revoked.body["revoke_reason"])
	for _, change := range []string{"rotate", "end-grace", "disable", "enable"} {
		body := m{}
		if change == "rotate" {
			body["grace_seconds"] = 0
		}
		send("POST", "/keys/"+id+"/"+change, body).want(t, 409, "state")
	}
	send("PATCH", "/keys/"+id, m{"name": "x"}).want(t, 409, "state")

	gone := send("DELETE", "/keys/"+id, nil).want(t, 204, "")
	assert.Empty(t, gone.raw)
	send("GET", "/keys/"+id, nil).want(t, 404, "not_found")
	send("DELETE", "/keys/"+id, nil).want(t, 404, "not_found")
	assert.Empty(t, s.log.String())
}

// TestFaultsOfRequests goes through what is refused before the store is asked.
func TestFaultsOfRequests(t *testing.T) {
	s := newSite(t, nil, keystore.Options{MaxTTL: 365 * 24 * time.Hour, DefaultTTL: time.Hour}, nil)
	_, admin := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin}, TTL: 365 * 24 * time.Hour})
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	long := strings.Repeat("x", 1025)
	for name, test := range map[string]struct {
		request
		status         int
		code, location string
	}{
		"no such path":              {request{method: "GET", path: "/nothing"}, 404, "not_found", ""},
		"a slash at the end":        {request{method: "GET", path: "/keys/"}, 404, "not_found", ""},
		"an unclean path":           {request{method: "GET", path: "//keys"}, 404, "not_found", ""},
		"a dot segment":             {request{method: "GET", path: "/x/../keys"}, 404, "not_found", ""},
		"a method":                  {request{method: "PUT", path: "/keys"}, 405, "method_not_allowed", ""},
		"OPTIONS":                   {request{method: "OPTIONS", path: "/keys"}, 405, "method_not_allowed", ""},
		"a method of one's own":     {request{method: "STEAL", path: "/keys/" + k.ID}, 405, "method_not_allowed", ""},
		"no key":                    {request{method: "GET", path: "/keys", token: "-"}, 401, "missing_credentials", ""},
		"a wrong key":               {request{method: "GET", path: "/keys", token: admin + "x"}, 401, "invalid_token", ""},
		"two keys":                  {request{method: "GET", path: "/keys", header: map[string]string{"X-API-Key": admin}}, 400, "invalid_request", ""},
		"no body":                   {request{method: "POST", path: "/keys"}, 400, "malformed", "body"},
		"a media type":              {request{method: "POST", path: "/keys", body: "a=b", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, 415, "unsupported_media_type", ""},
		"another charset":           {request{method: "POST", path: "/keys", body: "{}", header: map[string]string{"Content-Type": "application/json; charset=latin1"}}, 415, "unsupported_media_type", ""},
		"a patch elsewhere":         {request{method: "POST", path: "/keys", body: "{}", header: map[string]string{"Content-Type": "application/merge-patch+json"}}, 415, "unsupported_media_type", ""},
		"too long":                  {request{method: "POST", path: "/keys", body: strings.Repeat(" ", maxBody) + "{}"}, 413, "too_large", "body"},
		"no JSON":                   {request{method: "POST", path: "/keys", body: "{"}, 400, "malformed", "body"},
		"two values":                {request{method: "POST", path: "/keys", body: "{}{}"}, 400, "malformed", "body"},
		"no object":                 {request{method: "POST", path: "/keys", body: "[]"}, 422, "invalid", "body"},
		"null":                      {request{method: "PATCH", path: "/keys/" + k.ID, body: "null"}, 422, "invalid", "body"},
		"no owner":                  {request{method: "POST", path: "/keys", body: m{}}, 422, "invalid", "body.owner"},
		"an unknown member":         {request{method: "POST", path: "/keys", body: m{"owner": "a", "nmae": "x"}}, 422, "invalid", "body"},
		"a member in another case":  {request{method: "POST", path: "/keys", body: m{"owner": "a", "Name": "x"}}, 422, "invalid", "body"},
		"a number for a name":       {request{method: "POST", path: "/keys", body: m{"owner": "a", "name": 1}}, 422, "invalid", "body.name"},
		"null for a name":           {request{method: "POST", path: "/keys", body: m{"owner": "a", "name": nil}}, 422, "invalid", "body.name"},
		"a long description":        {request{method: "POST", path: "/keys", body: m{"owner": "a", "description": long}}, 422, "invalid", "body.description"},
		"a malformed scope":         {request{method: "POST", path: "/keys", body: m{"owner": "a", "scopes": []string{"a b"}}}, 422, "invalid", "body.scopes"},
		"null metadata":             {request{method: "POST", path: "/keys", body: m{"owner": "a", "metadata": m{"x": nil}}}, 422, "invalid", "body.metadata"},
		"reserved metadata":         {request{method: "POST", path: "/keys", body: m{"owner": "a", "metadata": m{DisabledBy: "self"}}}, 422, "invalid", "body.metadata"},
		"no time":                   {request{method: "POST", path: "/keys", body: m{"owner": "a", "expires_at": "tomorrow"}}, 422, "invalid", "body.expires_at"},
		"the zero time":             {request{method: "POST", path: "/keys", body: m{"owner": "a", "expires_at": "0001-01-01T00:00:00Z"}}, 422, "invalid", "body.expires_at"},
		"a time that is past":       {request{method: "POST", path: "/keys", body: m{"owner": "a", "expires_at": "2001-01-01T00:00:00Z"}}, 422, "invalid", "body.expires_at"},
		"a time too far away":       {request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 366 * 86400}}, 403, "beyond_grant", "body.expires_at"},
		"two lifetimes":             {request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 1, "expires_at": inDays(1)}}, 422, "invalid", "body.ttl_seconds"},
		"no lifetime":               {request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 0}}, 422, "invalid", "body.ttl_seconds"},
		"half a second":             {request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 0.5}}, 422, "invalid", "body.ttl_seconds"},
		"seconds that overflow":     {request{method: "POST", path: "/keys", body: `{"owner":"a","ttl_seconds":9223372037}`}, 422, "invalid", "body.ttl_seconds"},
		"expiry cleared":            {request{method: "PATCH", path: "/keys/" + k.ID, body: m{"expires_at": nil}}, 403, "beyond_grant", "body.expires_at"},
		"reserved scope added":      {request{method: "PATCH", path: "/keys/" + k.ID, body: m{"scopes": []string{ScopeAdmin}}}, 422, "invalid", "body.scopes"},
		"reserved metadata patch":   {request{method: "PATCH", path: "/keys/" + k.ID, body: m{"metadata": m{DisabledBy: nil}}}, 422, "invalid", "body.metadata"},
		"no grace":                  {request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{}}, 422, "invalid", "body.grace_seconds"},
		"negative grace":            {request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": -1}}, 422, "invalid", "body.grace_seconds"},
		"the longest grace":         {request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 9223372036, "expires_at": inDays(1)}}, 200, "", ""},
		"a long reason":             {request{method: "POST", path: "/keys/" + k.ID + "/revoke", body: m{"reason": long}}, 422, "invalid", "body.reason"},
		"a body for disable":        {request{method: "POST", path: "/keys/" + k.ID + "/disable", body: m{"reason": "x"}}, 422, "invalid", "body"},
		"an id that is none":        {request{method: "GET", path: "/keys/x"}, 404, "not_found", ""},
		"an id with a slash":        {request{method: "GET", path: "/keys/a%2Fb"}, 404, "not_found", ""},
		"If-Match":                  {request{method: "PATCH", path: "/keys/" + k.ID, body: m{}, header: map[string]string{"If-Match": "7"}}, 400, "malformed", "header.If-Match"},
		"an unknown parameter":      {request{method: "GET", path: "/keys?onwer=a"}, 422, "invalid", "query"},
		"a parameter twice":         {request{method: "GET", path: "/keys?owner=a&owner=b"}, 422, "invalid", "query.owner"},
		"an empty parameter":        {request{method: "GET", path: "/keys?owner="}, 422, "invalid", "query.owner"},
		"a query that is malformed": {request{method: "GET", path: "/keys?owner=%zz"}, 400, "malformed", "query"},
		"a semicolon":               {request{method: "GET", path: "/keys?owner=a;b"}, 400, "malformed", "query"},
		"a limit":                   {request{method: "GET", path: "/keys?limit=201"}, 422, "invalid", "query.limit"},
		"a state":                   {request{method: "GET", path: "/keys?state=gone"}, 422, "invalid", "query.state"},
		"a time in the query":       {request{method: "GET", path: "/keys?expiring_before=soon"}, 422, "invalid", "query.expiring_before"},
		"another time":              {request{method: "GET", path: "/keys?unused_since=2026"}, 422, "invalid", "query.unused_since"},
		"a cursor":                  {request{method: "GET", path: "/keys?cursor=%20"}, 422, "invalid", "query.cursor"},
		"an owner that is none":     {request{method: "GET", path: "/keys?owner=%00"}, 422, "invalid", "query.owner"},
		"a scope to look up":        {request{method: "POST", path: "/lookup", body: m{"token": "x", "scopes": []string{"a:*"}}}, 422, "invalid", "body.scopes"},
		"no token to look up":       {request{method: "POST", path: "/lookup", body: m{}}, 422, "invalid", "body.token"},
	} {
		t.Run(name, func(t *testing.T) {
			switch test.token {
			case "":
				test.token = admin
			case "-":
				test.token = ""
			}
			got := s.do(test.request).want(t, test.status, test.code)
			if test.location != "" {
				got.at(t, test.location)
			}
			if test.status == 405 {
				assert.NotEmpty(t, got.Header.Get("Allow"))
			}
			if test.status == 401 {
				assert.Contains(t, got.Header.Get("WWW-Authenticate"), "Bearer")
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	_, token := s.key(keystore.KeyParams{Owner: "a"})
	for given, kept := range map[string]bool{
		"req-1.A_z":               true,
		"":                        false,
		"two words":               false,
		strings.Repeat("ab-", 22): false, // 66 characters
		token:                     false,
	} {
		got := s.do(request{method: "GET", path: "/keys", header: map[string]string{"X-Request-Id": given}}).Header.Get("X-Request-Id")
		assert.Equal(t, kept, got == given, given)
		assert.Regexp(t, `^[0-9A-Za-z._-]{1,64}$`, got)
	}
}

func TestOptions(t *testing.T) {
	ks, err := keystore.New(memory.New(), nil)
	require.NoError(t, err)
	defer ks.Close()
	for _, base := range []string{"v1", "/a/../b", "/a//b", "//"} {
		_, err := New(ks, &Options{BasePath: base})
		if base == "//" { // slashes at the end are none
			assert.NoError(t, err)
			continue
		}
		assert.ErrorIs(t, err, keystore.ErrInvalid, base)
	}
	_, err = New(nil, nil)
	assert.ErrorIs(t, err, keystore.ErrInvalid)

	api, err := New(ks, &Options{BasePath: "/admin/keys/", Authorize: as(everything)})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/keys", strings.NewReader(`{"owner":"a"}`))
	r.Header.Set("Content-Type", "application/json")
	api.ServeHTTP(w, r)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	assert.Contains(t, w.Header().Get("Location"), "/admin/keys/keys/")

	w = httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	assert.Contains(t, w.Body.String(), `"url": "/admin/keys"`)
}

// TestMaxTTL is refused by the keystore, where the grant has no bound.
func TestMaxTTL(t *testing.T) {
	s := newSite(t, nil, keystore.Options{MaxTTL: 30 * 24 * time.Hour, DefaultTTL: time.Hour}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 31 * 86400}}).want(t, 422, "invalid").at(t, "body.ttl_seconds")
	s.do(request{method: "POST", path: "/keys", body: m{"owner": "a", "expires_at": inDays(31)}}).want(t, 422, "invalid").at(t, "body.expires_at")
	s.do(request{method: "PATCH", path: "/keys/" + k.ID, body: m{"expires_at": nil}}).want(t, 422, "invalid").at(t, "body.expires_at")
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 0, "expires_at": inDays(31)}}).want(t, 422, "invalid").at(t, "body.expires_at")
}
