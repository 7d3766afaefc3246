package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestVerifyTakesScopesFromItsURLAlone(t *testing.T) {
	s := serve(t, Config{})
	token, id := s.generate("orders:read", "users:*")
	for path, status := range map[string]int{
		"/verify":                     200,
		"/verify?":                    200,
		"/verify?scope=orders:read":   200,
		"/verify?scope=orders%3Aread": 200,
		"/verify?scope=orders:read&scope=users:a":    200,
		"/verify?scope=orders:write":                 403,
		"/verify?scope=orders:read&scope=billing":    403,
		"/verify?scope=":                             400,
		"/verify?scope":                              400,
		"/verify?scope=*":                            400,
		"/verify?scope=orders:read,users:a":          400,
		"/verify?scope=orders:read%20users:a":        400,
		"/verify?scopes=orders:read":                 400, // a typing error must not open the service
		"/verify?Scope=orders:read":                  400,
		"/verify?scope=orders:read&x=1":              400,
		"/verify?x":                                  400,
		"/verify?scope=orders:read;scope=a":          400,
		"/verify?scope=%zz":                          400,
		"/verify?cost=1":                             200,
		"/verify?scope=orders:read&cost=1000000000":  200, // the key has no limits
		"/verify?cost=2&scope=orders:write":          403,
		"/verify?cost=":                              400,
		"/verify?cost":                               400,
		"/verify?cost=0":                             400,
		"/verify?cost=-1":                            400,
		"/verify?cost=%2B1":                          400,
		"/verify?cost=01":                            400,
		"/verify?cost=1.0":                           400,
		"/verify?cost=0x1":                           400,
		"/verify?cost=1_0":                           400,
		"/verify?cost=1000000001":                    400,
		"/verify?cost=99999999999999999999":          400,
		"/verify?cost=1&cost=2":                      400,
		"/verify?cost=1&Cost=2":                      400,
		"/verify?costs=1":                            400,
		"/verify/-/x?cost=0":                         200, // that is the client's query
		"/verify/-":                                  200,
		"/verify/-/":                                 200,
		"/verify/-/any/path?scope=billing":           200, // all but the beginning is the client's
		"/verify/orders:read":                        200,
		"/verify/orders:read,users:a/x":              200,
		"/verify/orders:read/../../verify/-":         200,
		"/verify/orders:write/../-":                  403,
		"/verify/orders:write/../../verify/-":        403,
		"/verify/orders:write//verify/-":             403,
		"/verify/orders:write/%2e%2e/-":              403,
		"/verify/orders:write/x?scope=orders:read":   403,
		"/verify/billing,orders:read/":               403,
		"/verify/":                                   400,
		"/verify//-":                                 400,
		"/verify/,":                                  400,
		"/verify/orders:read,/x":                     400,
		"/verify/%2d/x":                              400,
		"/verify/orders%3Aread/x":                    400,
		"/verify/../verify/-/x":                      403, // dots are letters of scopes
		"/verify/*/x":                                400,
		"/verify/" + strings.Repeat("a", 129) + "/x": 400,
		"/verify/" + token + "/x":                    400,
		"/verify?scope=" + token:                     400,
		"/%76erify":                                  404,
		"/verify%2F-":                                404,
		"/verifyx":                                   404,
		"/Verify":                                    404,
		"/x/../verify":                               404,
		"//verify":                                   404,
	} {
		response := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n")
		require.Equal(t, status, response.StatusCode, path)
		if status == 200 {
			require.Equal(t, id, response.Header.Get("X-Key-Id"), path)
		} else {
			require.Empty(t, response.Header.Get("X-Key-Id"), path)
			require.NotContains(t, response.body, token[10:])
		}
	}
}

func TestVerifyAnswers(t *testing.T) {
	s := serve(t, Config{})
	made, key, err := s.keys.Generate(t.Context(), keystore.KeyParams{Owner: "Zoë & co, Ltd. <a@b:c/d>", Scopes: []string{"b:*", "a"}})
	require.NoError(t, err)
	good := s.get("/verify", made.Reveal())
	require.Equal(t, 200, good.StatusCode)
	require.Empty(t, good.body)
	require.Equal(t, key.ID, good.Header.Get("X-Key-Id"))
	require.Equal(t, "Zo%C3%AB%20%26%20co%2C%20Ltd.%20%3Ca@b:c/d%3E", good.Header.Get("X-Key-Owner"))
	require.Equal(t, "a b:*", good.Header.Get("X-Key-Scopes"))
	require.Equal(t, "no-store", good.Header.Get("Cache-Control"))

	none := s.get("/verify", "")
	require.Equal(t, 401, none.StatusCode)
	require.Equal(t, `Bearer realm="keystore"`, none.Header.Get("Www-Authenticate"))
	wrong := s.get("/verify", made.Reveal()+"x")
	require.Equal(t, 401, wrong.StatusCode)
	require.Contains(t, wrong.Header.Get("Www-Authenticate"), `error="invalid_token"`)
	lacks := s.get("/verify?scope=c", made.Reveal())
	require.Equal(t, 403, lacks.StatusCode)
	require.Contains(t, lacks.Header.Get("Www-Authenticate"), `error="insufficient_scope", scope="c"`)
	for _, refused := range []*answer{none, wrong, lacks} {
		require.Equal(t, "application/problem+json", refused.Header.Get("Content-Type"))
		require.Equal(t, "no-store", refused.Header.Get("Cache-Control"))
		require.Empty(t, refused.Header.Get("X-Key-Owner"))
	}
}

// What a client sends under the names of the answer is not in it, and any method
// will do: Envoy passes on that of its client.
func TestVerifyIgnoresWhatTheClientSays(t *testing.T) {
	s := serve(t, Config{})
	token, id := s.generate("a")
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "BREW"} {
		r, err := http.NewRequestWithContext(t.Context(), method, s.url("/verify?scope=a"), strings.NewReader("scope=b"))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Key-Id", "0000000000000000")
		r.Header.Set("X-Key-Owner", "root")
		r.Header.Set("X-Key-Scopes", "*")
		r.Header.Set("X-Original-Uri", "/verify?scope=b")
		response, err := s.client.Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode, method)
		require.Equal(t, []string{id}, response.Header["X-Key-Id"])
		require.Equal(t, []string{"alice"}, response.Header["X-Key-Owner"])
		require.Equal(t, []string{"a"}, response.Header["X-Key-Scopes"])
	}
}

func FuzzRequirements(f *testing.F) {
	for _, seed := range []string{
		"/verify", "/verify?scope=a&scope=b:c", "/verify/a,b/c/../d", "/verify/-/x?scope=y", "/verify/", "/verify?scopes=a", "/verify/%2d", "/verify?%73cope=a", "/verifyx", "//verify/-",
		"/verify?cost=5", "/verify?scope=a&cost=1000000000", "/verify?cost=1&cost=1", "/verify?%63ost=7&scope=a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		required, ok := requirements(u)
		if !ok {
			return
		}
		require.True(t, isVerify(&http.Request{URL: u}))
		for _, scope := range required.Scopes {
			require.NotErrorIs(t, keystore.Key{}.CheckScopes(scope), keystore.ErrInvalid)
		}
		path := u.EscapedPath()
		if required.Cost != 0 { // which only the query of the short form says
			require.Equal(t, "/verify", path)
			require.LessOrEqual(t, required.Cost, int64(keystore.MaxCost))
			require.Equal(t, []string{strconv.FormatInt(required.Cost, 10)}, u.Query()["cost"])
		}
		if len(required.Scopes) > 0 {
			return
		}
		// Only what says so lets every key pass.
		require.False(t, u.Query().Has("scope") && path == "/verify", raw)
		require.True(t, path == "/verify" && (u.RawQuery == "" || required.Cost > 0) || path == "/verify/-" || strings.HasPrefix(path, "/verify/-/"), raw)
	})
}

func FuzzEncodeOwner(f *testing.F) {
	for _, seed := range []string{"alice", "a@b.c", "Zoë & co", "a,b c+d=e", "%41", "\r\nX-Key-Id: 1", "日本", " ", "\x7f\x80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, owner string) {
		text := encodeOwner(owner)
		for _, c := range []byte(text) {
			require.True(t, c > ' ' && c < 0x7f && c != ',' && c != '+' && c != '"', text)
		}
		byPath, err := url.PathUnescape(text)
		require.NoError(t, err)
		require.Equal(t, owner, byPath)
		byForm, err := url.QueryUnescape(text)
		require.NoError(t, err)
		require.Equal(t, owner, byForm)
	})
}
