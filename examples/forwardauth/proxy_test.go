package main

import (
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
)

// passes stands in for keystore and lets everything pass, as the key k1.
func passes(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Key-Id", "k1")
	w.Header().Set("X-Key-Owner", "alice%20a")
	w.Header().Set("X-Key-Scopes", "orders:* x:y")
}

// What keystore is asked is of the configuration and of the request's credential; what
// the app gets is the request without that.
func TestWhatIsAskedAndPassedOn(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		keystore := newRecorder(t, passes)
		s := newSite(t, kind, keystore.addr)
		body := strings.Repeat("0123456789", 50_000)
		for _, c := range []struct{ method, path, verify string }{
			{"POST", "/orders/1?scope=x:y&a=%2F", "/verify/orders:write"},
			{"PUT", "/orders", "/verify/orders:write"},
			{"GET", "/orders/1", "/verify/orders:read"},
			{"HEAD", "/orders/1", "/verify/orders:read"},
			{"GET", "/reports/2026", "/verify/reports:read,reports:export"},
			{"GET", "/exports/1?scope=x:y&cost=1", "/verify?scope=reports:export&cost=10"},
			{"DELETE", "/", "/verify/-"},
			{"GET", "/else?x=y", "/verify/-"},
		} {
			if c.method == "GET" || c.method == "HEAD" {
				body = ""
			}
			reply := s.send(t, c.method, c.path, []string{
				bearer("one"), "X-API-Key: three", "X-API-Key: four", "Cookie: session=1",
				"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "X-Original-URI: /healthz", "Accept: text/plain",
			}, body)
			require.Equal(t, http.StatusOK, reply.StatusCode, c.path)

			asked := keystore.one(t)
			assert.Equal(t, http.MethodGet, asked.Method)
			got := asked.URL.EscapedPath() // behind which Caddy leaves the client's query, which counts for nothing
			if got == "/verify" {
				got = asked.RequestURI
			}
			assert.Equal(t, c.verify, got, "%s %s", c.method, c.path)
			assert.Equal(t, []string{"Bearer one"}, asked.Header["Authorization"], "keystore refuses two; it has to see them")
			assert.Equal(t, []string{"three", "four"}, asked.Header["X-Api-Key"])
			assert.Equal(t, []string{"127.0.0.1"}, asked.Header["X-Forwarded-For"], "what the client says of itself counts for nothing")
			assert.Empty(t, asked.body)
			assert.Zero(t, asked.ContentLength)
			assert.Empty(t, asked.TransferEncoding)
			assert.Empty(t, asked.Header["Cookie"])
			assert.Equal(t, kind == "caddy", asked.Close, "nginx keeps the connection, Caddy may not")

			passed := s.app.one(t)
			assert.Equal(t, c.method, passed.Method)
			assert.Equal(t, c.path, passed.RequestURI)
			assert.Equal(t, body, passed.body)
			assert.Empty(t, passed.Header["Authorization"])
			assert.Empty(t, passed.Header["X-Api-Key"])
			assert.Equal(t, []string{"k1"}, passed.Header["X-Key-Id"])
			assert.Equal(t, []string{"alice%20a"}, passed.Header["X-Key-Owner"])
			assert.Equal(t, []string{"orders:* x:y"}, passed.Header["X-Key-Scopes"])
			assert.Equal(t, []string{"session=1"}, passed.Header["Cookie"])
			assert.Equal(t, "app.example", passed.Host)
			assert.False(t, passed.Close, "the connection is kept")
			if c.method == "POST" {
				assert.Contains(t, reply.body, "500000 bytes of body\nkey k1 of alice a\nscopes: orders:* x:y\n")
			}
		}
	})
}

// What keystore refuses does not reach the app, and the client gets its status and its
// header fields, also where nginx by itself would answer 500.
func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		status := 0
		keystore := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="api", error="e"`)
			w.Header().Set("Retry-After", "7")
			w.Header().Set("RateLimit", `"day";r=0;t=7`)
			w.Header().Set("RateLimit-Policy", `"day";q=1;w=86400`)
			w.Header().Set("X-Key-Id", "k1")
			w.WriteHeader(status)
		})
		s := newSite(t, kind, keystore.addr)
		for _, status = range []int{400, 401, 403, 429, 431, 500, 503} {
			reply := s.get(t, "/", bearer("x"))
			assert.Equal(t, status, reply.StatusCode)
			assert.Equal(t, []string{`Bearer realm="api", error="e"`}, reply.Header["Www-Authenticate"], status)
			if kind != "nginx" || status != 401 && status != 403 { // keystore has none for these
				assert.Equal(t, []string{"7"}, reply.Header["Retry-After"], status)
				assert.Equal(t, []string{`"day";r=0;t=7`}, reply.Header["Ratelimit"], status)
				assert.Equal(t, []string{`"day";q=1;w=86400`}, reply.Header["Ratelimit-Policy"], status)
			}
			assert.Empty(t, s.app.take(), status)
		}
		for _, status = range []int{302, 404, 502, 418} { // keystore never says that
			assert.GreaterOrEqual(t, s.get(t, "/", bearer("x")).StatusCode, 300)
			assert.Empty(t, s.app.take(), status)
		}
	})
}

// A refusal is the same where nginx had to ask twice, since keystore had closed the
// connection that was kept, as one does that ends. Caddy keeps none.
func TestRefusalOnASecondTry(t *testing.T) {
	var asked atomic.Int64
	status := 0
	keystore := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) % 3 {
		case 2:
			panic(http.ErrAbortHandler)
		case 0:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}
	})
	s := newSite(t, "nginx", keystore.addr)
	for _, status = range []int{400, 401, 403, 429, 431, 500, 503} {
		require.Equal(t, http.StatusOK, s.get(t, "/", bearer("x")).StatusCode) // the connection is kept
		s.app.one(t)
		assert.Equal(t, status, s.get(t, "/", bearer("x")).StatusCode)
		assert.Zero(t, asked.Load()%3)
		assert.Empty(t, s.app.take(), status)
	}
}

// Without keystore nothing is let through but what is open to all.
func TestKeystoreIsDown(t *testing.T) {
	want := map[string]int{"nginx": http.StatusServiceUnavailable, "caddy": http.StatusBadGateway}
	each(t, func(t *testing.T, kind string) {
		s := newSite(t, kind, testserver.FreeAddr(t))
		reply := s.get(t, "/orders", bearer("x"))
		assert.Equal(t, want[kind], reply.StatusCode)
		assert.Empty(t, s.app.take())
		assert.Equal(t, http.StatusOK, s.get(t, "/healthz").StatusCode)
	})
}

// Whatever a client says of keys does not reach the app, where keystore says nothing
// of it, and where keystore is not asked.
func TestForgedFields(t *testing.T) {
	var forged []string
	for _, name := range []string{"Id", "Owner", "Scopes"} {
		for _, form := range []string{"X-Key-%", "x-key-%", "X-KEY-%", "X_Key_%", "X-Key_%", "X_Key-%", "x_key_%", "X_KEY_%", "X.Key.%"} {
			forged = append(forged, strings.ReplaceAll(form, "%", name)+": forged")
		}
	}
	each(t, func(t *testing.T, kind string) {
		says := http.HandlerFunc(passes)
		keystore := newRecorder(t, func(w http.ResponseWriter, r *http.Request) { says(w, r) })
		s := newSite(t, kind, keystore.addr)
		check := func(path string, want map[string]string) {
			t.Helper()
			require.Equal(t, http.StatusOK, s.get(t, path, forged...).StatusCode)
			got := map[string]string{}
			for name, values := range s.app.one(t).Header {
				// As CGI and its heirs name them.
				cgi := strings.ToUpper(strings.NewReplacer("-", "_").Replace(name))
				if strings.HasPrefix(cgi, "X_KEY") && strings.Join(values, "") != "" {
					got[name] = strings.Join(values, "|")
				}
			}
			assert.Equal(t, want, got)
		}
		check("/else", map[string]string{"X-Key-Id": "k1", "X-Key-Owner": "alice%20a", "X-Key-Scopes": "orders:* x:y"})
		check("/healthz", map[string]string{})
		says = func(w http.ResponseWriter, _ *http.Request) { // of a key without scopes
			w.Header().Set("X-Key-Id", "k2")
			w.Header().Set("X-Key-Owner", "bob")
			w.Header().Set("X-Key-Scopes", "")
		}
		check("/else", map[string]string{"X-Key-Id": "k2", "X-Key-Owner": "bob"})
	})
}

// By Connection a client names what a proxy has to drop (RFC 9110, section 7.6.1), and
// asks for another protocol, of whose requests the proxy would see nothing.
func TestConnectionFields(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		keystore := newRecorder(t, passes)
		s := newSite(t, kind, keystore.addr)
		require.Equal(t, http.StatusOK, s.get(t, "/else", bearer("x"), "Connection: X-Key-Id, X-Key-Owner", "Connection: X-Key-Scopes, X-Forwarded-For, Authorization").StatusCode)
		asked, passed := keystore.one(t), s.app.one(t)
		assert.Equal(t, []string{"127.0.0.1"}, asked.Header["X-Forwarded-For"])
		assert.Equal(t, []string{"k1"}, passed.Header["X-Key-Id"])
		assert.Equal(t, []string{"alice%20a"}, passed.Header["X-Key-Owner"])
		assert.Equal(t, []string{"orders:* x:y"}, passed.Header["X-Key-Scopes"])

		for _, path := range []string{"/else", "/healthz"} {
			for _, protocol := range []string{"h2c", "websocket"} {
				require.Equal(t, http.StatusOK, s.get(t, path, "Connection: Upgrade", "Upgrade: "+protocol, "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA").StatusCode)
				passed := s.app.one(t)
				assert.Empty(t, passed.Header["Upgrade"], path)
				assert.Empty(t, passed.Header["Connection"], path)
			}
		}
	})
}

// The app does not get a key where none is asked for, either.
func TestNoCredentialOnOpenPaths(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		s := newSite(t, kind, newRecorder(t, passes).addr)
		require.Equal(t, http.StatusOK, s.get(t, "/healthz", bearer("x"), "X-API-Key: y").StatusCode)
		passed := s.app.one(t)
		assert.Empty(t, passed.Header["Authorization"])
		assert.Empty(t, passed.Header["X-Api-Key"])
	})
}

// However a path is written, the app is not reached without the scopes of its own
// reading of it: unescaped, cleaned, without parameters. The key is good for what needs
// no scope.
func TestPaths(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		keystore := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/verify/-" || r.Header.Get("Authorization") == "" {
				w.WriteHeader(http.StatusForbidden)
			}
		})
		s := newSite(t, kind, keystore.addr)
		for _, path := range []string{
			"/orders", "/orders/", "//orders", "///orders/1", "/./orders", "/x/../orders", "/x/..//orders", "/%6frders", "/orders%2f1", "/x%2f..%2forders",
			"/x/%2e%2e/orders", "/x/..;/orders", "/x/..;a=b/orders", "/x/..%3b/orders", "/x/..%3Ba=b/orders", "/;/orders", "/orders;a", "/orders;a/1", `/\orders`, `/x\..\orders`, "/%5corders", "/x/%2e./orders",
			"/%2forders", "/%252forders", "/orders/.", "/orders/..", "/healthz/../orders", "/healthz/..;/orders", "/healthz%2f..%2forders", "/healthz;/../orders",
			"/healthz/", "//healthz", "/healthz/x", "/healthz%00", "/healthz;", "/healthz#/orders", "/healthz#", "/%2e/healthz", "/_verify/-", "/_verify/by-method/orders", "http://other.example/orders",
			"/orders?/healthz", "/orders#/healthz", "/reports", "/reports/", "/healthz/../reports",
			"/exports", "/exports/", "//exports", "/x/../exports", "/x/..;/exports", "/%65xports", "/exports%2f1", "/exports;a", "/exports?scope=", "/_verify/at-cost/exports",
		} {
			for _, lines := range [][]string{nil, {bearer("x")}} {
				reply := s.get(t, path, lines...)
				for _, passed := range s.app.take() {
					assert.True(t, lines != nil && harmless(passed.RequestURI), "%s reached the app as %s", path, passed.RequestURI)
				}
				assert.NotEqual(t, http.StatusInternalServerError, reply.StatusCode, path)
			}
		}
		if kind == "nginx" { // what it asks is not for clients
			assert.Equal(t, http.StatusNotFound, s.get(t, "/_verify/-", bearer("x")).StatusCode)
			assert.Equal(t, http.StatusNotFound, s.get(t, "/_verify/by-method/orders", bearer("x")).StatusCode)
			assert.Equal(t, http.StatusNotFound, s.get(t, "/_verify/at-cost/exports", bearer("x")).StatusCode)
		}
		assert.Equal(t, http.StatusOK, s.get(t, "/else", bearer("x")).StatusCode, "an honest one passes")
		assert.Equal(t, http.StatusOK, s.get(t, "/a.b/..c/d%20e/%C3%A9?x=//..;%2f", bearer("x")).StatusCode, "a strange one too")
		assert.Equal(t, http.StatusOK, s.get(t, "/healthz?x").StatusCode)
	})
}

// harmless reports whether no reading of a path is one that needs scopes, or that is
// open to all.
func harmless(uri string) bool {
	p, _, _ := strings.Cut(strings.ToLower(uri), "?")
	for range 3 {
		p = strings.NewReplacer("%2f", "/", "%5c", "/", `\`, "/", "%2e", ".", "%25", "%", "%6f", "o", "%65", "e", "%3b", ";").Replace(p)
	}
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	cleaned := path.Clean("/" + strings.Join(segments, "/"))
	for _, of := range []string{"/orders", "/reports", "/exports"} {
		for _, reading := range []string{p, cleaned} {
			if reading == of || strings.HasPrefix(reading, of+"/") {
				return false
			}
		}
	}
	return cleaned != "/healthz" || strings.HasSuffix(uri, "/") // the app takes that for another path
}
