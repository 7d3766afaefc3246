package adminapi

import (
	"fmt"
	"net/http"
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

// TestEscalation tries, one by one, to get more power than the presented key has.
func TestEscalation(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	end := inDays(30)
	selfKey, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "orders:*"}, ExpiresAt: end})
	weak := keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}, ExpiresAt: inDays(10)}
	strong := keystore.KeyParams{Owner: "alice", Scopes: []string{"billing:*"}, ExpiresAt: inDays(10)}
	all := keystore.KeyParams{Owner: "alice", Scopes: []string{"*"}, ExpiresAt: inDays(10)}
	eternal := keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}}

	for name, test := range map[string]struct {
		of           *keystore.KeyParams // nil: POST /keys
		method, path string
		body         any
		location     string // "": it is allowed
	}{
		"create for another owner":            {nil, "POST", "", m{"owner": "bob"}, "body.owner"},
		"create with a scope":                 {nil, "POST", "", m{"scopes": []string{"billing:read"}}, "body.scopes"},
		"create with the stem":                {nil, "POST", "", m{"scopes": []string{"orders"}}, "body.scopes"},
		"create with a star":                  {nil, "POST", "", m{"scopes": []string{"*"}}, "body.scopes"},
		"create an administrator":             {nil, "POST", "", m{"scopes": []string{ScopeAdmin}}, "body.scopes"},
		"create another self":                 {nil, "POST", "", m{"scopes": []string{ScopeSelf}}, "body.scopes"},
		"create with metadata":                {nil, "POST", "", m{"metadata": m{"plan": "gold"}}, "body.metadata"},
		"create for longer":                   {nil, "POST", "", m{"expires_at": end.Add(time.Millisecond)}, "body.expires_at"},
		"create for longer, ttl":              {nil, "POST", "", m{"ttl_seconds": 31 * 86400}, "body.expires_at"},
		"create for 292 years":                {nil, "POST", "", m{"ttl_seconds": maxSeconds}, "body.expires_at"},
		"create within":                       {nil, "POST", "", m{"owner": "alice", "scopes": []string{"orders:*", "orders:x:*"}, "expires_at": end}, ""},
		"create within, ttl":                  {nil, "POST", "", m{"ttl_seconds": 29 * 86400}, ""},
		"add a scope":                         {&weak, "PATCH", "", m{"scopes": []string{"orders:read", "billing:read"}}, "body.scopes"},
		"swap a scope":                        {&weak, "PATCH", "", m{"scopes": []string{"*"}}, "body.scopes"},
		"add a reserved scope":                {&weak, "PATCH", "", m{"scopes": []string{"orders:read", ScopeSelf}}, "body.scopes"},
		"add a reserved scope to a star":      {&all, "PATCH", "", m{"scopes": []string{"*", ScopeSelf}}, "body.scopes"},
		"add a scope of one's own":            {&weak, "PATCH", "", m{"scopes": []string{"orders:*"}}, ""},
		"add one to a stronger key":           {&strong, "PATCH", "", m{"scopes": []string{"billing:*", "orders:read"}}, "body.scopes"},
		"extend":                              {&weak, "PATCH", "", m{"expires_at": end.Add(time.Millisecond)}, "body.expires_at"},
		"extend for ever":                     {&weak, "PATCH", "", m{"expires_at": nil}, "body.expires_at"},
		"extend within":                       {&weak, "PATCH", "", m{"expires_at": end}, ""},
		"extend a stronger key":               {&strong, "PATCH", "", m{"expires_at": inDays(11)}, "body.scopes"},
		"set metadata":                        {&weak, "PATCH", "", m{"metadata": m{"plan": "gold"}}, "body.metadata"},
		"narrow a stronger key":               {&strong, "PATCH", "", m{"scopes": []string{"billing:read"}, "expires_at": inDays(2), "name": "x"}, ""},
		"shorten a longer one":                {&eternal, "PATCH", "", m{"expires_at": inDays(400)}, ""},
		"rotate":                              {&weak, "POST", "/rotate", m{"grace_seconds": 0}, ""},
		"rotate a stronger key":               {&strong, "POST", "/rotate", m{"grace_seconds": 0}, "body.scopes"},
		"rotate one that lives longer":        {&eternal, "POST", "/rotate", m{"grace_seconds": 0}, "body.expires_at"},
		"rotate it to an end within":          {&eternal, "POST", "/rotate", m{"grace_seconds": 0, "expires_at": end}, ""},
		"extend by rotation":                  {&weak, "POST", "/rotate", m{"grace_seconds": 0, "expires_at": end.Add(time.Millisecond)}, "body.expires_at"},
		"lower a stronger key":                {&strong, "POST", "/disable", nil, ""},
		"revoke a stronger key":               {&strong, "POST", "/revoke", nil, ""},
		"end the grace of a stronger key":     {&strong, "POST", "/end-grace", nil, ""},
		"delete a stronger key":               {&strong, "DELETE", "", nil, ""},
		"set the mark of a disabled key":      {&weak, "PATCH", "", m{"metadata": m{DisabledBy: "self"}}, "-"},
		"clear metadata that is not there":    {&weak, "PATCH", "", m{"metadata": nil}, ""},
		"a name for a key that is stronger":   {&strong, "PATCH", "", m{"name": "mine"}, ""},
		"a description that is a merge patch": {&weak, "PATCH", "", m{"description": `{"scopes":["*"]}`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/keys"
			var before keystore.Key
			if test.of != nil {
				before, _ = s.key(*test.of)
				path += "/" + before.ID + test.path
			}
			got := s.do(request{method: test.method, path: path, token: self, body: test.body})
			switch test.location {
			case "":
				require.Less(t, got.StatusCode, 300, got.raw)
				return
			case "-":
				got.want(t, 422, "invalid")
			default:
				got.want(t, 403, "beyond_grant").at(t, test.location)
			}
			if test.of != nil {
				assert.Equal(t, before, s.get(before.ID))
			}
		})
	}

	// What is not said is what the caller has.
	made := s.do(request{method: "POST", path: "/keys", token: self, body: m{}}).want(t, 201, "")
	k := s.get(made.body["key"].(map[string]any)["id"].(string))
	assert.Equal(t, "alice", k.Owner)
	assert.Equal(t, end, k.ExpiresAt)
	assert.Zero(t, k.Scopes.Len())

	// A key may rotate itself, keeping its end, and not move it.
	s.do(request{method: "POST", path: "/keys/" + selfKey.ID + "/rotate", token: self, body: m{"grace_seconds": 0, "expires_at": inDays(31)}}).want(t, 403, "beyond_grant")
	s.do(request{method: "POST", path: "/keys/" + selfKey.ID + "/rotate", token: self, body: m{"grace_seconds": 60}}).want(t, 200, "")
}

// TestDefaultTTLUnderABound: the sooner of the two counts.
func TestDefaultTTLUnderABound(t *testing.T) {
	for days, want := range map[int]int{5: 5, 20: 10} {
		s := newSite(t, nil, keystore.Options{DefaultTTL: 10 * 24 * time.Hour}, as(Grant{Owner: "alice", ExpiresAt: inDays(days)}))
		made := s.do(request{method: "POST", path: "/keys", body: m{}}).want(t, 201, "")
		k := s.get(made.body["key"].(map[string]any)["id"].(string))
		assert.WithinDuration(t, inDays(want), k.ExpiresAt, time.Hour)
	}
}

// TestOldSecret: a secret in its grace period mints nothing that outlives it, and
// does not get the current one by rotating.
func TestOldSecret(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	for _, scope := range []string{ScopeSelf, ScopeAdmin} {
		k, old := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{scope}})
		other, _ := s.key(keystore.KeyParams{Owner: "alice"})
		_, k, err := s.ks.Rotate(t.Context(), k.ID, time.Hour, nil)
		require.NoError(t, err)
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", token: old, body: m{"grace_seconds": 0}}).want(t, 403, "beyond_grant")
		within := m{"grace_seconds": 0, "expires_at": k.GraceUntil}
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", token: old, body: within}).want(t, 403, "beyond_grant")
		s.do(request{method: "POST", path: "/keys/" + other.ID + "/rotate", token: old, body: m{"grace_seconds": 0}}).want(t, 403, "beyond_grant").at(t, "body.expires_at")
		s.do(request{method: "PATCH", path: "/keys/" + other.ID, token: old, body: m{"expires_at": inDays(1)}}).want(t, 200, "")
		s.do(request{method: "PATCH", path: "/keys/" + other.ID, token: old, body: m{"expires_at": inDays(2)}}).want(t, 403, "beyond_grant")
		made := s.do(request{method: "POST", path: "/keys", token: old, body: m{"owner": "alice"}}).want(t, 201, "")
		assert.Equal(t, k.GraceUntil, s.get(made.body["key"].(map[string]any)["id"].(string)).ExpiresAt)
	}
}

// TestSelfRotationNeedsTheCurrentSecretOfTheStore: what a cache says of the
// generation may be old; the store decides.
func TestSelfRotationNeedsTheCurrentSecretOfTheStore(t *testing.T) {
	var g Grant
	s := newSite(t, nil, keystore.Options{}, func(*http.Request) (Grant, error) { return g, nil })
	k, _ := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	g = Grant{Owner: "alice", KeyID: k.ID, KeyGeneration: 1}
	_, _, err := s.ks.Rotate(t.Context(), k.ID, time.Hour, nil) // elsewhere, after the lookup
	require.NoError(t, err)
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 0}}).want(t, 403, "beyond_grant")
	g.KeyGeneration = 2
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 0}}).want(t, 200, "")
}

// TestWhoDisabledIt: only an administrator enables what one disabled, in whatever
// order things were done.
func TestWhoDisabledIt(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	admin := s.admin()
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "orders:*"}})
	for steps, want := range map[string]int{ // lower case: self
		"d e":         200,
		"D e":         403,
		"d D e":       403,
		"D d e":       403,
		"d e D e":     403,
		"d D E d e":   200,
		"D E":         200,
		"d E D d e":   403,
		"e":           200,
		"D E e":       200,
		"d D d d D e": 403,
	} {
		k, _ := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
		all := strings.Fields(steps)
		for i, step := range all {
			token := admin
			if step == strings.ToLower(step) {
				token = self
			}
			path := map[string]string{"d": "/disable", "e": "/enable"}[strings.ToLower(step)]
			got := s.do(request{method: "POST", path: "/keys/" + k.ID + path, token: token})
			if i < len(all)-1 {
				got.want(t, 200, "")
				continue
			}
			assert.Equal(t, want, got.StatusCode, steps)
			assert.Equal(t, want != 200, s.get(k.ID).Disabled, steps)
		}
		if want == 200 {
			assert.Zero(t, s.get(k.ID).Metadata.Len(), steps)
		}
	}

	// Enabling gives power: the key must lie within the grant.
	strong, _ := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"billing:*"}})
	s.do(request{method: "POST", path: "/keys/" + strong.ID + "/disable", token: self}).want(t, 200, "")
	s.do(request{method: "POST", path: "/keys/" + strong.ID + "/enable", token: self}).want(t, 403, "beyond_grant").at(t, "body.scopes")
}

// TestDisableWithoutRoomForTheMark: a key is disabled whatever its metadata.
func TestDisableWithoutRoomForTheMark(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(Grant{Owner: "alice", Scopes: []string{"*"}}))
	full := map[string]string{}
	for i := range 64 {
		full[fmt.Sprint(i)] = ""
	}
	k, _ := s.key(keystore.KeyParams{Owner: "alice", Metadata: full})
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/disable"}).want(t, 200, "")
	assert.True(t, s.get(k.ID).Disabled)
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/enable"}).want(t, 403, "beyond_grant")
}

// TestClearingMetadataKeepsTheMark: null removes what a program set, and not what
// the API did.
func TestClearingMetadataKeepsTheMark(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(Grant{Owner: "alice", Metadata: true}))
	k, _ := s.key(keystore.KeyParams{Owner: "alice", Metadata: map[string]string{"a": "1", "b": "2"}})
	s.do(request{method: "POST", path: "/keys/" + k.ID + "/disable"}).want(t, 200, "")
	got := s.do(request{method: "PATCH", path: "/keys/" + k.ID, body: m{"metadata": nil}}).want(t, 200, "")
	assert.Equal(t, map[string]any{DisabledBy: "self"}, got.body["metadata"])
}

// TestBetweenCheckAndRotation: what comes in between is seen.
func TestBetweenCheckAndRotation(t *testing.T) {
	var between func()
	store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		if then := between; then != nil && c.Method == faulty.Get {
			between = nil
			return faulty.Around(nil, then)
		}
		return nil
	})
	s := newSite(t, store, keystore.Options{}, as(Grant{Owner: "alice", Scopes: []string{"orders:*"}}))
	for name, test := range map[string]struct {
		change keystore.Changes
		match  string
		status int
		code   string
	}{
		"a scope":       {keystore.Changes{Scopes: []string{"billing:write"}}, "", 403, "beyond_grant"},
		"a name":        {keystore.Changes{Name: "x"}, "", 200, ""},
		"a revision":    {keystore.Changes{Name: "x"}, `"1"`, 412, "precondition_failed"},
		"any revision":  {keystore.Changes{Name: "x"}, `*`, 200, ""},
		"this revision": {keystore.Changes{Name: "x"}, `"1", "2"`, 200, ""},
	} {
		k, _ := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}})
		between = func() {
			_, err := s.ks.Update(t.Context(), k.ID, func(c *keystore.Changes) error {
				c.Name = test.change.Name
				c.Scopes = append(c.Scopes, test.change.Scopes...)
				return nil
			})
			require.NoError(t, err)
		}
		r := request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 0}, header: map[string]string{}}
		if test.match != "" {
			r.header["If-Match"] = test.match
		}
		got := s.do(r)
		require.Equal(t, test.status, got.StatusCode, name)
		if test.code != "" {
			got.want(t, test.status, test.code)
			require.Equal(t, 1, s.get(k.ID).Generation, name)
		}
	}
}

// TestRaces lets the holder of a weak key rotate and extend a key while an
// administrator gives it and takes from it a scope that the holder may not grant.
// No answer that hands out power shows a key that has the scope.
func TestRaces(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "orders:*"}})
	target, _ := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"orders:read"}, ExpiresAt: inDays(10)})
	const callers, rounds = 32, 40
	var wg sync.WaitGroup
	var extended, rotated atomic.Int64
	goesOn := func(n int) bool { // longer where nobody has won yet
		return n < rounds || n < 50*rounds && (extended.Load() == 0 || rotated.Load() == 0)
	}
	for i := range callers {
		wg.Go(func() {
			for n := 0; goesOn(n); n++ {
				switch {
				case i%4 == 0: // the administrator, past the API
					scopes := []string{"orders:read"}
					if n%2 == 0 {
						scopes = append(scopes, "billing:write")
					}
					s.ks.Update(t.Context(), target.ID, func(c *keystore.Changes) error { c.Scopes = scopes; return nil })
				case i == 1: // alone, so that each time is later than the one before
					got := s.do(request{method: "PATCH", path: "/keys/" + target.ID, token: self, body: m{"expires_at": inDays(11 + n)}})
					if got.StatusCode == 200 {
						extended.Add(1)
						assert.NotContains(t, got.body["scopes"], "billing:write")
					}
				default:
					got := s.do(request{method: "POST", path: "/keys/" + target.ID + "/rotate", token: self, body: m{"grace_seconds": 0}})
					if got.StatusCode == 200 {
						rotated.Add(1)
						assert.NotContains(t, got.body["key"].(map[string]any)["scopes"], "billing:write")
					}
				}
			}
		})
	}
	wg.Wait()
	assert.NotZero(t, extended.Load(), "no extension won a race")
	assert.NotZero(t, rotated.Load(), "no rotation won a race")
}

// TestEnableRace: an administrator disables a key while its holder disables and
// enables it; what the administrator did last counts.
func TestEnableRace(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	admin := s.admin()
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	for range 20 {
		k, _ := s.key(keystore.KeyParams{Owner: "alice"})
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				path := "/keys/" + k.ID + []string{"/disable", "/enable"}[i%2]
				for range 4 {
					s.do(request{method: "POST", path: path, token: self})
				}
			})
		}
		s.do(request{method: "POST", path: "/keys/" + k.ID + "/disable", token: admin}).want(t, 200, "")
		wg.Wait()
		require.True(t, s.get(k.ID).Disabled)
	}
}
