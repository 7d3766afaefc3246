package httpauth

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var everywhere = &Options{Headers: []string{"X-API-Key", "X-Other-Key"}, QueryParameter: "api_key", FailuresPerSecond: -1}

// Case 40, and what else a request may carry: T is a good token, U a good one of
// another key, X no token at all.
func TestCombinations(t *testing.T) {
	const good, none, several, bad = "", "missing_credentials", "invalid_request", "invalid_token"
	plain := &Options{FailuresPerSecond: -1}
	noBearer := &Options{NoBearer: true, FailuresPerSecond: -1}
	spaced := &Options{QueryParameter: "api key", FailuresPerSecond: -1}
	bearerOnly := &Options{Headers: []string{}, FailuresPerSecond: -1}
	for _, c := range []struct {
		want    string
		options *Options
		target  string
		fields  string // separated by |
	}{
		// one credential
		{good, plain, "/", "Authorization: Bearer T"},
		{good, plain, "/", "Authorization: bearer T"},
		{good, plain, "/", "Authorization: BEARER T"},
		{good, plain, "/", "Authorization: Bearer   T"},
		{good, plain, "/", "X-API-Key: T"},
		{good, plain, "/", "x-api-key: T"},
		{good, everywhere, "/", "X-Other-Key: T"},
		{good, everywhere, "/?api_key=T", ""},
		{good, everywhere, "/?a=1&api_key=T&b=2", ""},
		{good, everywhere, "/?api%5Fkey=T", ""},
		{good, spaced, "/?api+key=T", ""},
		{good, spaced, "/?api%20key=T", ""},
		{good, noBearer, "/", "X-API-Key: T"},
		{good, noBearer, "/", "X-API-Key: T|Authorization: Basic dTpw"},
		{good, noBearer, "/", "X-API-Key: T|Authorization: Bearer U|Authorization: Bearer X"},
		{good, bearerOnly, "/", "Authorization: Bearer T|X-API-Key: U"},

		// none
		{none, plain, "/", ""},
		{none, plain, "/?api_key=T", ""},
		{none, plain, "/?access_token=T", ""},
		{none, everywhere, "/?API_KEY=T&apikey=T&api_key1=T&api-key=T", ""},
		{none, everywhere, "/?x=api_key=T", ""},
		{none, everywhere, "/api_key=T", ""},
		{none, plain, "/", "Authorization: Basic dTpw"},
		{none, plain, "/", "Authorization: T"},
		{none, plain, "/", "Authorization: BearerT"},
		{none, plain, "/", "Authorization: Bearer:T"},
		{none, plain, "/", "Authorization: Bearer\tT"},
		{none, plain, "/", "Authorization: Basic dTpw, Bearer T"},
		{none, plain, "/", "Authorization: Token T"},
		{none, plain, "/", "Authorization: Bearer\u00a0T"},
		{none, plain, "/", "Authorization:  Bearer T"}, // net/http removes such a space
		{none, plain, "/", "Proxy-Authorization: Bearer T"},
		{none, plain, "/", "Cookie: X-API-Key=T"},
		{none, plain, "/", "X-API-Key2: T"},
		{none, plain, "/", "X_API_Key: T"},
		{none, plain, "/", "X-Other-Key: T"},
		{none, noBearer, "/", "Authorization: Bearer T"},
		{none, bearerOnly, "/", "X-API-Key: T"},

		// more than one
		{several, plain, "/", "Authorization: Bearer T|Authorization: Bearer T"},
		{several, plain, "/", "Authorization: Bearer T|Authorization: Bearer U"},
		{several, plain, "/", "Authorization: Bearer T|Authorization: Basic dTpw"},
		{several, plain, "/", "Authorization: Basic dTpw|Authorization: Basic dTpw"},
		{several, plain, "/", "Authorization: Bearer T|Authorization:"},
		{several, plain, "/", "Authorization: Bearer T|X-API-Key: T"},
		{several, plain, "/", "Authorization: Bearer T|X-API-Key: X"},
		{several, plain, "/", "Authorization: Bearer X|X-API-Key: T"},
		{several, plain, "/", "Authorization: Bearer T|X-API-Key:"},
		{several, plain, "/", "Authorization: Basic dTpw|X-API-Key: T"},
		{several, plain, "/", "Authorization:|X-API-Key: T"},
		{several, plain, "/", "X-API-Key: T|X-API-Key: T"},
		{several, plain, "/", "X-API-Key: T|x-api-key: U"},
		{several, plain, "/", "X-API-Key:|X-API-Key: T"},
		{several, everywhere, "/", "X-API-Key: T|X-Other-Key: T"},
		{several, everywhere, "/?api_key=T", "X-API-Key: T"},
		{several, everywhere, "/?api_key=T", "Authorization: Bearer T"},
		{several, everywhere, "/?api_key=T", "Authorization: Basic dTpw"},
		{several, everywhere, "/?api_key", "Authorization: Bearer T"},
		{several, everywhere, "/?api_key=T&api_key=T", ""},
		{several, everywhere, "/?api_key=T&api%5fkey=U", ""},
		{several, everywhere, "/?api_key&api_key=T", ""},
		{several, noBearer, "/", "X-API-Key: T|X-API-Key: T"},

		// one that is empty, or looks like two that were joined
		{several, plain, "/", "Authorization:"},
		{several, plain, "/", "Authorization: Bearer"},
		{several, plain, "/", "Authorization: Bearer  "},
		{several, plain, "/", "X-API-Key:"},
		{several, everywhere, "/?api_key", ""},
		{several, everywhere, "/?api_key=", ""},
		{several, plain, "/", "Authorization: Bearer T, Bearer U"},
		{several, plain, "/", "Authorization: Bearer T,"},
		{several, plain, "/", "Authorization: Bearer ,T"},
		{several, plain, "/", "X-API-Key: T,U"},
		{several, plain, "/", "X-API-Key: T, T"},
		{several, everywhere, "/?api_key=T,U", ""},

		// one that is no token
		{bad, plain, "/", "Authorization: Bearer X"},
		{bad, plain, "/", "Authorization: Bearer T T"},
		{bad, plain, "/", "Authorization: Bearer Bearer T"},
		{bad, plain, "/", "X-API-Key: Bearer T"},
		{bad, plain, "/", "X-API-Key: \"T\""},
		{bad, plain, "/", "X-API-Key: T;"},
		{bad, everywhere, "/?api_key=T;b=2", ""},
		{bad, everywhere, "/?api_key=T+", ""},
		{bad, everywhere, "/?api_key=%73T", ""},
		{bad, everywhere, "/?api_key=T%", ""},
		{bad, everywhere, "/?api_key==T", ""},
	} {
		t.Run(strings.ReplaceAll(c.target+" "+c.fields, "|", " and "), func(t *testing.T) {
			s := newService(t, c.options)
			tokens := strings.NewReplacer("T", s.key(), "U", s.key(), "X", "sk_test")
			var fields []string
			if c.fields != "" {
				for _, f := range strings.Split(c.fields, "|") {
					name, value, _ := strings.Cut(f, ":")
					if value != "" && !strings.HasPrefix(value, " Token") {
						value = tokens.Replace(value)
					}
					fields = append(fields, name+":"+value)
				}
			}
			target := strings.ReplaceAll(c.target, "%73T", "%73"+s.key()[1:])
			target = strings.NewReplacer("=T", "="+tokens.Replace("T"), "=U", "="+tokens.Replace("U"), ",U", ","+tokens.Replace("U")).Replace(target)
			w := serve(s.Require()(greet), newRequest(target, fields...))
			assert.Equal(t, c.want, codeOf(t, w))
			if c.want == several {
				assert.Zero(t, s.calls(), "a request that is refused for its form reached the store")
			}
		})
	}
}

// Case 38: what is empty or unset, in one place or another.
func TestRefusedEmpty(t *testing.T) {
	s := newService(t, everywhere)
	s.key()
	h := s.Require()(greet)
	for _, r := range []*http.Request{
		newRequest("/"), newRequest("/", "Authorization:"), newRequest("/", "Authorization: "), newRequest("/", "Authorization: Bearer"),
		newRequest("/", "Authorization: Bearer "), newRequest("/", "Authorization: Bearer \t"), newRequest("/", "X-API-Key:"), newRequest("/", "X-API-Key:  "),
		newRequest("/", "Authorization: Bearer sk_test"), newRequest("/", "Authorization: Bearer sk_test_"), newRequest("/", "X-API-Key: sk_test_"),
		newRequest("/", "X-API-Key: <nil>"), newRequest("/", "X-API-Key: null"), newRequest("/", "X-API-Key: undefined"), newRequest("/", "X-API-Key: ${API_KEY}"),
		newRequest("/?api_key"), newRequest("/?api_key="), newRequest("/?api_key=null"),
	} {
		w := serve(h, r)
		assert.Contains(t, []int{400, 401}, w.Code, "%v", r.Header)
	}
	assert.Zero(t, s.calls())

	zero, err := New(s.ks, &Options{Headers: []string{}, NoBearer: true})
	assert.Nil(t, zero)
	assert.ErrorContains(t, err, "no place is left", "a configuration that lets nobody in must not look like one that lets everybody in")
}

// Case 39: nothing that is near a token passes for it.
func TestOnlyTheOneSpellingPasses(t *testing.T) {
	s := newService(t, everywhere)
	h := s.Require()(greet)
	token := s.key()
	near := map[string]bool{
		strings.ToUpper(token): true, strings.ToLower(token): true, strings.Replace(token, "_", "%5F", 1): true, strings.Replace(token, "sk", "ｓｋ", 1): true,
		"\"" + token + "\"": true, token + token: true, "Bearer " + token: true, strings.Replace(token, "sk_test", "sk_live", 1): true,
	}
	for i := range len(token) {
		near[token[:i]] = true
		near[token[:i]+token[i+1:]] = true
		near[token[:i]+string(token[i]^0x20)+token[i+1:]] = true
		if '0' <= token[i] && token[i] <= '9' {
			near[token[:i]+string('０'+rune(token[i]-'0'))+token[i+1:]] = true
		}
		for _, c := range []byte("\x00\t\r\n 09AZaz_-.%+/=\x7f\x80\xff") {
			near[token[:i]+string([]byte{c})+token[i+1:]] = true
		}
	}
	for _, add := range []string{" ", "\t", "\n", "\r", "\x00", "\u00a0", "\u200b", "\ufeff", "\u0301", "0", "_", "=", "%20", "%00", "\xff"} {
		for i := 1; i <= len(token); i++ {
			near[token[:i]+add+token[i:]] = true
		}
	}
	delete(near, token)
	for text := range near {
		r := newRequest("/")
		r.Header["X-Api-Key"] = []string{text} // past net/http, which refuses some of them
		w := serve(h, r)
		require.Contains(t, []int{400, 401}, w.Code, "X-API-Key: %q", text)

		r = newRequest("/")
		r.Header["Authorization"] = []string{"Bearer " + text}
		w = serve(h, r)
		require.Contains(t, []int{400, 401}, w.Code, "Bearer %q", text)

		r = newRequest("/")
		r.URL.RawQuery = "api_key=" + text
		w = serve(h, r)
		require.Contains(t, []int{400, 401}, w.Code, "api_key=%q", text)
	}
	require.Equal(t, 200, with(h, token).Code)
}

// Case 41: what is too long to be a token is refused before anything is hashed or
// read.
func TestOverlongCostsNothing(t *testing.T) {
	s := newService(t, everywhere, uncached)
	h := s.Require()(greet)
	token := s.key()
	for _, n := range []int{1, 200, 1 << 20} {
		long := token + strings.Repeat("0", n)
		for _, r := range []*http.Request{
			newRequest("/", "Authorization: Bearer "+long), newRequest("/", "X-API-Key: "+long), newRequest("/?api_key=" + long),
			newRequest("/", "Authorization: "+strings.Repeat("x", n)+" "+token), newRequest("/", "Authorization: Bearer "+strings.Repeat(" ", n)),
		} {
			w := serve(h, r)
			assert.Contains(t, []int{400, 401}, w.Code)
			assert.Less(t, w.Body.Len(), 400, "the answer repeats what came")
		}
	}
	assert.Zero(t, s.calls())
}

func TestStripCredential(t *testing.T) {
	o := *everywhere
	o.StripCredential, o.Open = true, []string{"/open"}
	s := newService(t, &o)
	token := s.key()
	var got *http.Request
	h := s.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	for _, c := range []struct{ target, field, wantURI string }{
		{"/x", "Authorization: Bearer " + token, "/x"},
		{"/x", "X-API-Key: " + token, "/x"},
		{"/x?a=1", "X-Other-Key: " + token, "/x?a=1"},
		{"/x?api_key=" + token, "", "/x"},
		{"/x?api%5Fkey=" + token, "", "/x"},
		{"/x%2Fy?b=%7e;+&&a=%&api_key=" + token + "&c", "", "/x%2Fy?b=%7e;+&&a=%&c"},
		{"/open?api_key=" + token + "&api_key=" + token, "X-API-Key: " + token, "/open"},
	} {
		r := newRequest(c.target, "X-Kept: yes")
		if name, value, ok := strings.Cut(c.field, ": "); ok {
			r.Header.Set(name, value)
		}
		_ = r.ParseForm() // as other middleware may have done; a bad escape is its error
		before := r.Clone(t.Context())
		got = nil
		w := serve(h, r)
		require.NotNil(t, got, "%s: %s", c.target, w.Body)
		assert.Equal(t, c.wantURI, got.RequestURI)
		assert.Equal(t, c.wantURI, got.URL.RequestURI())
		assert.NotContains(t, got.Form.Encode()+got.URL.String(), token)
		assert.Equal(t, http.Header{"X-Kept": {"yes"}}, got.Header)
		assert.Equal(t, before.Header, r.Header, "the caller's request was changed")
		assert.Equal(t, before.URL, r.URL)
		assert.Equal(t, before.RequestURI, r.RequestURI)
		assert.Equal(t, before.Form, r.Form)
	}

	serve(h, newRequest("/open", "Authorization: Basic dTpw", "Authorization: Bearer "+token))
	assert.Empty(t, got.Header, "the second of two is a credential too")

	r := newRequest("/open", "Authorization: Basic dTpw")
	serve(h, r)
	assert.Equal(t, "Basic dTpw", got.Header.Get("Authorization"), "another scheme is not ours to remove")

	plain := newService(t, nil)
	token = plain.key()
	serve(plain.Require()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })), newRequest("/", "X-API-Key: "+token))
	assert.Equal(t, token, got.Header.Get("X-API-Key"), "removed without being asked to")
}

func TestCacheControlOfSuccesses(t *testing.T) {
	s := newService(t, everywhere)
	token := s.key()
	h := s.Require()(greet)
	assert.Equal(t, "private", serve(h, newRequest("/?api_key="+token)).Header().Get("Cache-Control"))
	assert.Equal(t, "private", serve(h, newRequest("/", "X-API-Key: "+token)).Header().Get("Cache-Control"), "shared caches know nothing of this field")
	assert.Empty(t, with(h, token).Header().Get("Cache-Control"), "shared caches know Authorization")

	public := s.Require()(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Cache-Control", "public, max-age=60") }))
	assert.Equal(t, []string{"public, max-age=60"}, serve(public, newRequest("/?api_key="+token)).Header()["Cache-Control"])
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		h.ServeHTTP(w, r)
	})
	assert.Equal(t, "no-cache", serve(outer, newRequest("/?api_key="+token)).Header().Get("Cache-Control"))
}
