package httpauth

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

func TestTheHandlerFindsTheKey(t *testing.T) {
	s := newService(t, nil)
	token, key := s.generate(keystore.KeyParams{Owner: "bob", Scopes: []string{"orders:*"}})
	_, rotated, err := s.ks.Rotate(t.Context(), key.ID, 1<<40, nil)
	require.NoError(t, err)
	ran := 0
	h := s.Require("orders:read")(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran++
		got, ok := KeyFrom(r.Context())
		assert.True(t, ok)
		assert.Equal(t, rotated.ID, got.ID)
		assert.Equal(t, "bob", got.Owner)
		result, ok := ResultFrom(r.Context())
		assert.True(t, ok)
		assert.Equal(t, 1, result.Generation, "of the secret presented")
		assert.Equal(t, 2, result.Key.Generation)
		assert.Equal(t, key.ID, keystore.ActorFrom(r.Context()))
		assert.Equal(t, "r1", keystore.RequestIDFrom(r.Context()), "what the context held before")
	}))
	r := newRequest("/", "X-API-Key: "+token)
	serve(h, r.WithContext(keystore.WithRequestID(r.Context(), "r1")))
	assert.Equal(t, 1, ran)

	_, ok := KeyFrom(t.Context())
	assert.False(t, ok)
	with(h, otherToken)
	assert.Equal(t, 1, ran, "the handler ran without a key")
}

func TestAnActorThatIsSetStays(t *testing.T) {
	s := newService(t, nil)
	h := s.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, keystore.ActorFrom(r.Context())) }))
	r := newRequest("/", "X-API-Key: "+s.key())
	w := serve(h, r.WithContext(keystore.WithActor(r.Context(), "operator")))
	assert.Equal(t, "operator", w.Body.String())
}

func TestRequireWithinRequire(t *testing.T) {
	kept := newService(t, nil, uncached)
	assert.Equal(t, 200, with(kept.Require()(kept.Require()(kept.Require("a")(greet))), kept.key("a")).Code)
	assert.Equal(t, 1, kept.calls(), "looked up once")

	s := newService(t, &Options{StripCredential: true}, uncached)
	token := s.key("a")
	assert.Equal(t, 200, with(s.Require()(s.Require()(s.Require("a")(greet))), token).Code)
	assert.Equal(t, 1, s.calls(), "looked up once")
	assert.Equal(t, 403, with(s.Require()(s.Require("b")(greet)), token).Code)
	assert.Equal(t, 401, with(s.Require()(s.another(nil).Require()(greet)), token).Code, "another Auth decides for itself, and the credential is gone")
}

// A request that a handler makes of its own, in its own context, does not borrow the
// rights of the key by which the handler runs if it brings a credential itself.
func TestRequestWithinARequest(t *testing.T) {
	s := newService(t, nil)
	outer, narrow, other := s.key("a"), s.key("b"), s.key("a")
	inner := s.Require("a")(greet)
	ran := false
	h := s.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ran = true
		for want, fields := range map[int][][]string{
			200: {{}, {"X-API-Key: " + outer}, {"Authorization: Bearer " + outer}, {"X-API-Key: " + other}},
			400: {{"X-API-Key: " + outer, "X-API-Key: " + outer}, {"X-API-Key:"}},
			401: {{"X-API-Key: " + otherToken}, {"X-API-Key: x"}},
			403: {{"X-API-Key: " + narrow}},
		} {
			for _, f := range fields {
				assert.Equal(t, want, serve(inner, newRequest("/", f...).WithContext(r.Context())).Code, "%.30q", f)
			}
		}
	}))
	with(h, outer)
	assert.True(t, ran)
}

func TestMalformedScopes(t *testing.T) {
	s := newService(t, nil)
	token := s.key("*")
	for _, scope := range []string{"", "a b", "a:*", "*", `a"`, "a,b", "a\n", token} {
		func() {
			defer func() {
				text, ok := recover().(string)
				require.True(t, ok, "Require(%q) did not panic", scope)
				assert.Contains(t, text, "scope")
				assert.NotContains(t, text, token)
			}()
			s.Require("a", scope)
		}()
		_, err := s.Check(newRequest("/", "X-API-Key: "+token), "a", scope)
		var failure *Failure
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, 500, failure.Status)
		assert.Equal(t, CodeMisconfigured, failure.Code)
	}
	assert.Panics(t, func() { s.Require("a")(nil) })

	scopes := []string{"a"}
	h := s.Require(scopes...)(greet)
	scopes[0] = "keystore:admin"
	assert.Equal(t, 200, with(h, token).Code, "the slice is the caller's again")
}

func TestOptionsThatCannotBe(t *testing.T) {
	s := newService(t, nil)
	for _, c := range []struct {
		field string
		o     Options
	}{
		{"Headers", Options{Headers: []string{""}}},
		{"Headers", Options{Headers: []string{"X Key"}}},
		{"Headers", Options{Headers: []string{"X-Key:"}}},
		{"Headers", Options{Headers: []string{"X-Key\r\nX: y"}}},
		{"Headers", Options{Headers: []string{"Ключ"}}},
		{"Headers", Options{Headers: []string{"authorization"}}},
		{"Headers", Options{Headers: []string{"X-Key", "x-key"}}},
		{"NoBearer", Options{NoBearer: true, Headers: []string{}}},
		{"Open", Options{Open: []string{""}}},
		{"Open", Options{Open: []string{"healthz"}}},
		{"Open", Options{Open: []string{"/docs/"}}},
		{"Open", Options{Open: []string{"//"}}},
		{"Open", Options{Open: []string{"/a/../b"}}},
		{"Open", Options{Open: []string{"/a%2fb"}}},
		{"Open", Options{Open: []string{"/*"}}},
		{"Open", Options{Open: []string{"/{id}"}}},
		{"Open", Options{Open: []string{"/a;b"}}},
		{"Open", Options{Open: []string{"/a?b"}}},
		{"RetryAfter", Options{RetryAfter: -1}},
		{"FailuresPerSecond", Options{FailuresPerSecond: nan()}},
		{"FailuresPerSecond", Options{FailuresPerSecond: 1 / zero()}},
		{"FailureBurst", Options{FailureBurst: -1}},
		{"MaxClients", Options{MaxClients: -1}},
		{"TrustedProxies", Options{TrustedProxies: prefixes("10.0.0.0/8", "")}},
		{"ForwardedHeader", Options{ForwardedHeader: "X Forwarded"}},
		{"ForwardedHeader", Options{ForwardedHeader: "forwarded"}},
	} {
		a, err := New(s.ks, &c.o)
		assert.Nil(t, a)
		var field *keystore.FieldError
		require.ErrorAs(t, err, &field, "%+v", c.o)
		assert.Equal(t, c.field, field.Field, "%v", err)
		assert.ErrorIs(t, err, keystore.ErrInvalid)
	}
	_, err := New(nil, nil)
	assert.ErrorIs(t, err, keystore.ErrInvalid)

	o := Options{Headers: []string{"x-key"}, Open: []string{"/a"}, TrustedProxies: prefixes("10.0.0.0/8")}
	a, err := New(s.ks, &o)
	require.NoError(t, err)
	assert.Equal(t, "x-key", o.Headers[0], "the caller's options were changed")
	o.Headers[0], o.Open[0], o.TrustedProxies[0] = "X-Other", "/b", prefixes("0.0.0.0/0")[0]
	assert.Equal(t, 200, serve(a.Require()(greet), newRequest("/", "X-Key: "+s.key())).Code)
	assert.Equal(t, 401, serve(a.Require()(greet), newRequest("/b")).Code)
	assert.False(t, a.trusts(addr("192.0.2.1")))
}

func zero() float64 { return 0 }
func nan() float64  { return zero() / zero() }

// What a proxy passes on has no credential, and is otherwise what came.
func TestProxiedOn(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1")
		fmt.Fprintln(w, r.Method, r.RequestURI, r.Header["Authorization"], r.Header["X-Api-Key"], r.Header["X-Kept"])
	}))
	defer upstream.Close()
	to, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	o := *everywhere
	o.StripCredential = true
	s := newService(t, &o)
	proxy := httputil.NewSingleHostReverseProxy(to)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy.Transport = transport
	server := httptest.NewServer(s.Require()(proxy))
	defer server.Close()
	token := s.key()
	for _, lines := range []string{
		"GET /a%2Fb?x=%7e&y HTTP/1.1\r\nAuthorization: Bearer " + token,
		"GET /a%2Fb?x=%7e&y HTTP/1.1\r\nX-API-Key: " + token,
		"GET /a%2Fb?x=%7e&api_key=" + token + "&y HTTP/1.1",
	} {
		answer := exchange(t, server.Listener.Addr().String(), lines+"\r\nHost: x\r\nX-Kept: yes\r\nConnection: close\r\n\r\n")
		assert.Contains(t, answer, "\r\n\r\nGET /a%2Fb?x=%7e&y [] [] [yes]\n")
		assert.Contains(t, answer, "Cache-Control: max-age=1\r\n", "what the upstream says of caching")
		known := strings.Contains(lines, "Authorization")
		assert.Equal(t, !known, strings.Contains(answer, "Cache-Control: private\r\n"), "the proxy adds to it")
	}
}
