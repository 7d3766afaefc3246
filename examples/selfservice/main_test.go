package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// browser keeps cookies, as one does.
type browser struct {
	t    *testing.T
	at   string
	http *http.Client
}

func start(t *testing.T) (site string, ks *keystore.Keystore) {
	ks, err := keystore.New(memory.New(), &keystore.Options{Prefix: "sk_test", CacheSize: -1})
	require.NoError(t, err)
	app, err := newApp(ks, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := httptest.NewServer(app)
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, ks.Close())
	})
	return server.URL, ks
}

func open(t *testing.T, site, user string) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{t, site, &http.Client{Jar: jar, Transport: transport}}
	if user != "" {
		resp, err := b.http.PostForm(site+"/login", url.Values{"user": {user}})
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	return b
}

func (b *browser) send(method, path string, body any, header ...string) (int, map[string]any) {
	b.t.Helper()
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(b.t, err)
		sent = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.at+path, sent)
	require.NoError(b.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	var got map[string]any
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		require.NoError(b.t, json.NewDecoder(resp.Body).Decode(&got))
	}
	return resp.StatusCode, got
}

type m = map[string]any

// TestSelfService: a user makes a key, uses it, sees it and deletes it, and another
// user sees nothing of it.
func TestSelfService(t *testing.T) {
	site, _ := start(t)
	alice, bob := open(t, site, "alice"), open(t, site, "bob")

	status, made := alice.send("POST", "/account/keys", m{"name": "laptop", "scopes": []string{"orders:read"}})
	require.Equal(t, http.StatusCreated, status, made)
	id := made["key"].(m)["id"].(string)
	token := made["token"].(string)
	assert.Equal(t, "alice", made["key"].(m)["owner"])
	expires, err := time.Parse(time.RFC3339, made["key"].(m)["expires_at"].(string))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(longest), expires, time.Minute)

	script := open(t, site, "") // has the key, and no session
	status, _ = script.send("GET", "/orders", nil, "Authorization", "Bearer "+token)
	assert.Equal(t, http.StatusOK, status)
	status, _ = script.send("GET", "/account/keys", nil, "Authorization", "Bearer "+token)
	assert.Equal(t, http.StatusUnauthorized, status, "a key of this application manages no keys")

	status, list := alice.send("GET", "/account/keys", nil)
	require.Equal(t, http.StatusOK, status)
	assert.Len(t, list["keys"], 1)
	_, list = bob.send("GET", "/account/keys", nil)
	assert.Empty(t, list["keys"])
	status, _ = bob.send("DELETE", "/account/keys/"+id, nil)
	assert.Equal(t, http.StatusNotFound, status)

	status, _ = alice.send("DELETE", "/account/keys/"+id, nil)
	assert.Equal(t, http.StatusNoContent, status)
	status, _ = script.send("GET", "/orders", nil, "Authorization", "Bearer "+token)
	assert.Equal(t, http.StatusUnauthorized, status)
}

// TestPlan: nobody gets more than the plan has.
func TestPlan(t *testing.T) {
	site, _ := start(t)
	bob := open(t, site, "bob")
	for name, body := range map[string]m{
		"another scope": {"scopes": []string{"orders:write"}},
		"all scopes":    {"scopes": []string{"*"}},
		"the admin API": {"scopes": []string{"keystore:admin"}},
		"another owner": {"owner": "alice"},
		"a longer life": {"expires_at": time.Now().Add(longest + time.Hour)},
		"metadata":      {"metadata": m{"plan": "gold"}},
	} {
		status, got := bob.send("POST", "/account/keys", body)
		assert.Equal(t, http.StatusForbidden, status, name)
		assert.Equal(t, "beyond_grant", got["code"], name)
	}
	status, _ := open(t, site, "").send("POST", "/account/keys", m{})
	assert.Equal(t, http.StatusUnauthorized, status)
}

// TestOtherSites: what another site makes a browser send changes nothing, whether it
// comes from a form or from a script.
func TestOtherSites(t *testing.T) {
	site, ks := start(t)
	alice := open(t, site, "alice")
	_, made := alice.send("POST", "/account/keys", m{})
	id := made["key"].(m)["id"].(string)
	for _, foreign := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"}, // another host of this domain
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for _, r := range [][2]string{{"POST", "/account/keys"}, {"POST", "/account/keys/" + id + "/disable"}, {"DELETE", "/account/keys/" + id}, {"POST", "/login"}} {
			status, _ := alice.send(r[0], r[1], nil, foreign...)
			assert.Equal(t, http.StatusForbidden, status, "%v %v", foreign, r)
		}
	}
	k, err := ks.Get(t.Context(), id)
	require.NoError(t, err)
	assert.EqualValues(t, 1, k.Revision())
}

// TestSessions: a login makes a session that nobody chose, and ends the one before; so
// does a logout.
func TestSessions(t *testing.T) {
	site, _ := start(t)
	alice := open(t, site, "alice")
	at, err := url.Parse(site)
	require.NoError(t, err)
	with := func(cookie string) int {
		status, _ := open(t, site, "").send("GET", "/account/keys", nil, "Cookie", sessionCookie+"="+cookie)
		return status
	}
	session := func() string { return alice.http.Jar.Cookies(at)[0].Value }

	first := session()
	require.Equal(t, http.StatusOK, with(first))
	resp, err := alice.http.PostForm(site+"/login", url.Values{"user": {"bob"}})
	require.NoError(t, err)
	resp.Body.Close()
	second := session()
	assert.NotEqual(t, first, second)
	assert.Equal(t, http.StatusUnauthorized, with(first))
	assert.Equal(t, http.StatusOK, with(second))

	alice.http.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: "planted", Path: "/"}})
	resp, err = alice.http.PostForm(site+"/login", url.Values{"user": {"alice"}})
	require.NoError(t, err)
	resp.Body.Close()
	third := session()
	assert.Equal(t, http.StatusUnauthorized, with("planted"))
	assert.Equal(t, http.StatusOK, with(third))
	resp, err = alice.http.PostForm(site+"/logout", nil)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, with(third))
	assert.Equal(t, http.StatusUnauthorized, with(""))
}

// TestLongLogin: who is not logged in cannot make the server keep what they send.
func TestLongLogin(t *testing.T) {
	site, _ := start(t)
	nobody := open(t, site, "")
	resp, err := nobody.http.PostForm(site+"/login", url.Values{"user": {"alice"}, "more": {strings.Repeat("x", maxForm)}})
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}

// TestRun starts the program, sees its page and ends it.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in, "127.0.0.1:0", "memory://")
		in.Close()
		ended <- err
	}()
	line := make([]byte, 100)
	n, err := out.Read(line)
	require.NoError(t, err)
	address := strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "Open "))
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Get(address)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Contains(t, string(text), "Your API keys")
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "script-src 'self'")
	stop()
	require.NoError(t, <-ended)
}
