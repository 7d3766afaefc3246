package adminapi

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// onKey are the operations on one key, with a body that each takes.
var onKey = []struct {
	name, method, path string
	body               any
}{
	{"get", "GET", "", nil},
	{"limits", "GET", "/limits", nil},
	{"usage", "GET", "/usage", nil},
	{"patch", "PATCH", "", m{"description": "changed"}},
	{"rotate", "POST", "/rotate", m{"grace_seconds": 0}},
	{"end-grace", "POST", "/end-grace", nil},
	{"disable", "POST", "/disable", nil},
	{"enable", "POST", "/enable", nil},
	{"reset-limits", "POST", "/reset-limits", nil},
	{"revoke", "POST", "/revoke", m{"reason": "over"}},
	{"delete", "DELETE", "", nil},
}

// changing are those that change it.
var changing = onKey[3:]

// TestWhoMayDoWhat tries every operation as every kind of caller on a key of their
// own, of somebody else, and on none. What is not the caller's is told word for
// word as what does not exist, and stays as it is.
func TestWhoMayDoWhat(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf, "orders:*"}})
	_, plain := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{"*"}})
	callers := map[string]struct{ token string }{"admin": {s.admin()}, "self": {self}, "plain": {plain}, "nobody": {""}}
	const absent = "00000000zzzzzzzz"
	for caller, c := range callers {
		for _, op := range onKey {
			for _, whose := range []string{"own", "foreign", "absent", "no id"} {
				t.Run(caller+" "+op.name+" "+whose, func(t *testing.T) {
					owner := map[string]string{"own": "alice", "foreign": "bob"}[whose]
					id := map[string]string{"absent": absent, "no id": "x"}[whose]
					var before keystore.Key
					if owner != "" {
						before, _ = s.key(keystore.KeyParams{Owner: owner, Scopes: []string{"orders:read"}})
						id = before.ID
					}
					got := s.do(request{method: op.method, path: "/keys/" + id + op.path, token: c.token, body: op.body})
					there := owner != "" && (caller == "admin" || owner == "alice")
					switch {
					case caller == "nobody":
						got.want(t, 401, "missing_credentials")
					case caller == "plain":
						got.want(t, 403, "insufficient_scope")
					case !there:
						got.want(t, 404, "not_found")
						assert.Equal(t, `{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","detail":"There is no such key."}`, strings.TrimSpace(got.raw))
					case op.name == "reset-limits" && caller == "self":
						got.want(t, 403, "beyond_grant")
					case op.name == "delete", op.name == "reset-limits":
						got.want(t, 204, "")
						return
					default:
						got.want(t, 200, "")
						return
					}
					if owner != "" {
						assert.Equal(t, before, s.get(id))
					}
				})
			}
		}
	}
}

// TestForeignAnswersAreTheSame compares whole answers, fields of the header
// included.
func TestForeignAnswersAreTheSame(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	_, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	foreign, _ := s.key(keystore.KeyParams{Owner: "bob"})
	for _, op := range onKey {
		for _, match := range []string{"", `"1"`, `"9"`, "*"} {
			ask := func(id string) reply {
				r := request{method: op.method, path: "/keys/" + id + op.path, token: self, body: op.body, header: map[string]string{"X-Request-Id": "same"}}
				if match != "" {
					r.header["If-Match"] = match
				}
				return s.do(r)
			}
			there, absent := ask(foreign.ID), ask("00000000zzzzzzzz")
			assert.Equal(t, absent.Header, there.Header, op.name)
			assert.Equal(t, absent.raw, there.raw, op.name)
			assert.Equal(t, 404, there.StatusCode, op.name)
		}
	}
}

// TestOwnerBoundCollections: creating, listing and looking up reach no other owner.
func TestOwnerBoundCollections(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	mine, self := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	_, foreign := s.key(keystore.KeyParams{Owner: "bob", Scopes: []string{"orders:read"}})
	revoked, revokedToken := s.key(keystore.KeyParams{Owner: "alice"})
	_, err := s.ks.Revoke(t.Context(), revoked.ID, "")
	require.NoError(t, err)

	pages, _ := s.pages(self, "")
	require.ElementsMatch(t, []string{mine.ID, revoked.ID}, pages[0])
	s.do(request{method: "GET", path: "/keys?owner=bob", token: self}).want(t, 403, "beyond_grant").at(t, "query.owner")

	look := func(token, looked string, scopes ...string) string {
		return s.do(request{method: "POST", path: "/lookup", token: token, body: m{"token": looked, "scopes": append([]string{}, scopes...)}}).want(t, 200, "").raw
	}
	unknown := foreign[:3] + strings.Repeat("0", 16) + foreign[19:]
	const invalid = "{\"valid\":false,\"code\":\"invalid\"}\n"
	for name, token := range map[string]string{"unknown": unknown, "foreign": foreign, "malformed": "x", "empty": "", "own, revoked": revokedToken} {
		assert.Equal(t, invalid, look(self, token), name)
	}
	assert.Equal(t, invalid, look(self, foreign, "orders:write"), "its scopes say nothing either")
	assert.Contains(t, look(self, self), `"valid":true`)
	assert.Contains(t, look(self, self, "orders:read"), `"missing_scope"`)

	admin := s.admin()
	assert.Contains(t, look(admin, foreign), `"owner":"bob"`)
	for token, code := range map[string]string{"x": "malformed", revokedToken: "revoked", foreign: "valid"} {
		assert.Contains(t, look(admin, token), `"code":"`+code+`"`)
	}
	assert.Contains(t, look(admin, foreign, "orders:write"), `"code":"missing_scope"`)
	assert.NotContains(t, look(admin, unknown), "bob")
}
