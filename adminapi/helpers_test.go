package adminapi

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a store with the API on it, as a program has it under /v1.
type site struct {
	t    *testing.T
	ks   *keystore.Keystore
	http http.Handler
	log  *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newSite makes a site without a cache, so that each call sees what there is, on a
// backend, memory if that is nil.
func newSite(t *testing.T, b backend.Backend, opts keystore.Options, authorize func(*http.Request) (Grant, error)) *site {
	t.Helper()
	if b == nil {
		b = memory.New()
	}
	opts.CacheSize, opts.PurgeInterval, opts.TouchInterval = -1, keystore.Never, keystore.Never
	ks, err := keystore.New(b, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { ks.Close() })
	log := &logBuffer{}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	auth, err := httpauth.New(ks, &httpauth.Options{FailuresPerSecond: -1, Logger: logger})
	require.NoError(t, err)
	api, err := New(ks, &Options{Auth: auth, Authorize: authorize, Logger: logger})
	require.NoError(t, err)
	return &site{t: t, ks: ks, http: http.StripPrefix("/v1", api), log: log}
}

// key makes a key past the API.
func (s *site) key(p keystore.KeyParams) (keystore.Key, string) {
	s.t.Helper()
	p.AllowReserved = true
	token, k, err := s.ks.Generate(s.t.Context(), p)
	require.NoError(s.t, err)
	return k, token.Reveal()
}

func (s *site) get(id string) keystore.Key {
	s.t.Helper()
	k, err := s.ks.Get(s.t.Context(), id)
	require.NoError(s.t, err)
	return k
}

func (s *site) admin() string {
	_, token := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin}})
	return token
}

// request is one to send. The body is sent as JSON, or as it is if it is a string.
type request struct {
	method, path string
	token        string
	body         any
	header       map[string]string
}

type reply struct {
	*http.Response
	raw  string
	body map[string]any // nil: none
}

func (s *site) do(r request) reply {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r.build(s.t))
	return replyOf(s.t, w.Result())
}

func (r request) build(t *testing.T) *http.Request {
	t.Helper()
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(t, err)
		body = bytes.NewReader(raw)
	}
	req := httptest.NewRequestWithContext(t.Context(), r.method, "/v1"+r.path, body)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return req
}

func replyOf(t *testing.T, resp *http.Response) reply {
	t.Helper()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	out := reply{Response: resp, raw: string(raw)}
	if len(raw) > 0 && strings.Contains(resp.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(raw, &out.body), out.raw)
	}
	return out
}

// want checks the status, and the code where it is a problem.
func (r reply) want(t *testing.T, status int, code string) reply {
	t.Helper()
	require.Equal(t, status, r.StatusCode, r.raw)
	if status >= 400 {
		require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
		require.Equal(t, float64(status), r.body["status"])
		require.Equal(t, code, r.body["code"], r.raw)
	}
	require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
	return r
}

// at checks where a problem says that the fault is.
func (r reply) at(t *testing.T, location string) {
	t.Helper()
	require.Equal(t, location, r.body["location"], r.raw)
}

// as returns an Authorize function that always gives this grant.
func as(g Grant) func(*http.Request) (Grant, error) {
	return func(*http.Request) (Grant, error) { return g, nil }
}

// everything is what an administrator may do.
var everything = Grant{Actor: "root", AllOwners: true, Scopes: []string{"*"}, Reserved: true, Metadata: true, SetLimits: true, EnableAny: true}

func inDays(n int) time.Time {
	return time.Now().Add(time.Duration(n) * 24 * time.Hour).UTC().Truncate(time.Millisecond)
}

type m map[string]any
