package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// wrapped serves a handler as those of a server are.
func wrapped(t *testing.T, h http.HandlerFunc) (*httptest.Server, *journal) {
	t.Helper()
	log := new(journal)
	s, err := newServer(memory.New(), nil, Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: RedactAttr}))}.withDefaults())
	require.NoError(t, err)
	started := httptest.NewUnstartedServer(s.wrap(h))
	started.Config.ErrorLog = errorLog(s.log)
	started.Start()
	t.Cleanup(func() { started.Close(); require.NoError(t, s.ks.Close()) })
	return started, log
}

const planted = "ks_0Vc5FsJZqLA2srCPPmKp7o1hPgr6USIxJC1q72d3Mf9P183S0TqRRH" // the form of a token, and none

func TestPanicIs503AndHoldsNoToken(t *testing.T) {
	for name, value := range map[string]any{
		"text": "cannot parse " + planted, "error": fmt.Errorf("token %q: %w", planted, io.EOF), "header": http.Header{"Authorization": {"Bearer " + planted}},
		"bytes": []any{planted, 1},
	} {
		s, log := wrapped(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Half", "1")
			w.Header().Set("X-Request-Id", "r")
			panic(value)
		})
		a, err := ask(t.Context(), s.Client(), "GET", s.URL+"/"+planted+"?key="+planted, planted, "")
		require.NoError(t, err, name)
		require.Equal(t, 503, a.StatusCode, name)
		require.Equal(t, "5", a.Header.Get("Retry-After"))
		require.Empty(t, a.Header.Get("X-Half"))
		require.Equal(t, "r", a.Header.Get("X-Request-Id"))
		require.JSONEq(t, `{"type":"about:blank","title":"Service Unavailable","status":503,"code":"unavailable"}`, a.body)
		require.NotContains(t, a.body, planted[20:])
		require.Contains(t, log.String(), "a handler panicked")
		require.Contains(t, log.String(), "requests_test.go", "the stack")
		require.NotContains(t, log.String(), planted[20:], name)
	}
}

// What was answered in part must not look whole.
func TestPanicAmidAnAnswer(t *testing.T) {
	s, log := wrapped(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("oh")
	})
	_, err := ask(t.Context(), s.Client(), "GET", s.URL, "", "")
	require.Error(t, err)
	require.Contains(t, log.String(), "a handler panicked")
	s, log = wrapped(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err = ask(t.Context(), s.Client(), "GET", s.URL, "", "")
	require.Error(t, err)
	require.NotContains(t, log.String(), "panicked")
}

func TestLogOfConnectionsIsBoundedAndHoldsNoToken(t *testing.T) {
	log := new(journal)
	l := errorLog(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: RedactAttr})))
	for range 10_000 {
		l.Printf("http: something with %s\n in it", planted+strings.Repeat("x", 4<<10))
	}
	lines := strings.Count(log.String(), "\n")
	require.Positive(t, lines)
	require.Less(t, lines, 1000)
	require.NotContains(t, log.String(), planted[20:])
}

func FuzzRedact(f *testing.F) {
	f.Add("a", "b")
	f.Add("Bearer ", "\n")
	f.Add("ks_", "0")
	f.Add("é_", strings.Repeat("x", 2000))
	f.Fuzz(func(t *testing.T, before, after string) {
		require.NotContains(t, redact(before+planted+after), planted[20:])
	})
}

// A token in all the places where one may be put by mistake is found nowhere.
func TestPlantedTokenIsFoundNowhere(t *testing.T) {
	audit := new(auditJournal)
	s := serveOn(t, memory.New(), memory.New(), &keystore.Options{Audit: audit}, Config{LogRequests: true})
	other := serve(t, Config{})
	token, _ := other.generate("a") // well-formed, and unknown here
	secret := token[len("ks_")+16:]
	var answers bytes.Buffer
	keep := func(a *answer) {
		fmt.Fprintln(&answers, a.Status, a.Header, a.body)
	}
	for _, path := range []string{
		"/verify", "/verify?scope=" + token, "/verify?" + token, "/verify/" + token, "/" + token, "/v1/keys/" + token, "/v1/keys?owner=" + token, "/v1/" + token,
		"/metrics?" + token, "/healthz/" + token, "/readyz?" + token, "/v1/keys?after=" + token, "//" + token,
	} {
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE", token[3:20]} {
			keep(s.ask(method, s.url(path), token, `{"owner":"`+token+`","token":"`+token+`","scopes":["`+token+`"]}`))
		}
	}
	for _, head := range []string{
		"X-Api-Key: " + token, "Authorization: Basic " + token, "Authorization: " + token, "Cookie: " + token, token + ": 1", "X-Request-Id: " + token,
		"X-Forwarded-For: " + token, "Referer: https://x/?" + token, "User-Agent: " + token, token, "Expect: " + token, "Transfer-Encoding: " + token, "Content-Length: " + token,
	} {
		keep(s.raw("GET /verify HTTP/1.1\r\nHost: x\r\n" + head + "\r\nConnection: close\r\n\r\n"))
	}
	for _, line := range []string{token, "GET " + token + " HTTP/1.1", "GET / " + token, "GET http://" + token + "/ HTTP/1.1"} {
		keep(s.raw(line + "\r\nHost: " + token + "\r\nConnection: close\r\n\r\n"))
	}
	keep(s.get("/metrics", ""))
	require.NoError(t, s.end())
	for name, text := range map[string]string{"log": s.log.String(), "answers": answers.String(), "audit": audit.String()} {
		require.NotEmpty(t, text, name)
		require.NotContains(t, text, secret, name)
	}
}

// auditJournal keeps events as text.
type auditJournal struct{ journal }

func (a *auditJournal) Audit(_ context.Context, events []keystore.Event) error {
	for _, e := range events {
		fmt.Fprintf(a, "%+v\n", e)
	}
	return nil
}

// Errors of a store may hold anything.
func TestErrorsOfAStoreAreNotShown(t *testing.T) {
	store := new(memory.Store)
	leaky := faulty.New(store.Open(), faulty.Only(faulty.Refuse(errors.New("redis://:hunter2@db/0: no route to "+planted)), faulty.Get, faulty.List, faulty.Create))
	s := serveOn(t, leaky, store.Open(), &keystore.Options{TouchInterval: time.Hour}, Config{})
	token, _ := s.generate("keystore:admin")
	for _, path := range []string{"/verify", "/readyz", "/v1/keys", "/metrics"} {
		a := s.get(path, token)
		require.NotContains(t, fmt.Sprint(a.Header, a.body), "hunter2", path)
		require.NotContains(t, fmt.Sprint(a.Header, a.body), planted[20:], path)
	}
	require.NotContains(t, s.log.String(), planted[20:])
}

func TestRoutes(t *testing.T) {
	for path, route := range map[string]string{
		"/verify": "/verify", "/verify/a/b": "/verify", "/healthz": "/healthz", "/metrics": "/metrics", "/": "other", "/x": "other", "/v1": "other",
		"/v1/keys": "/v1/keys", "/v1/keys/abc": "/v1/keys/{id}", "/v1/keys/abc/rotate": "/v1/keys/{id}/rotate", "/v1/keys/abc/end-grace": "/v1/keys/{id}/end-grace",
		"/v1/keys/abc/x": "/v1/other", "/v1/keys/a/b/c": "/v1/other", "/v1/lookup": "/v1/lookup", "/v1/openapi.json": "/v1/openapi.json", "/v1/": "/v1/other", "/v1/" + planted: "/v1/other",
		"/v1/lookup/x": "/v1/other", "/v1/plans": "/v1/plans", "/v1/usage": "/v1/usage", "/v1/keys/abc/limits": "/v1/keys/{id}/limits",
		"/v1/keys/abc/reset-limits": "/v1/keys/{id}/reset-limits", "/v1/keys/abc/usage": "/v1/keys/{id}/usage",
	} {
		require.Equal(t, route, routeOf(httptest.NewRequest("GET", path, nil)), path)
	}
	require.Equal(t, "other", methodOf(httptest.NewRequest("BREW", "/", nil)))
}
