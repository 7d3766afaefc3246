package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// metric returns the value of one line of /metrics, -1 if it is not there.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+name+" ")
	if !found {
		return -1
	}
	rest, _, _ = strings.Cut(rest, "\n")
	value, err := strconv.ParseFloat(rest, 64)
	require.NoError(t, err)
	return value
}

func TestMetrics(t *testing.T) {
	store := new(memory.Store) // of which the server hears nothing and keeps all: what it reads does not depend on time
	s := serveOn(t, unwatched{store.Open()}, store.Open(), &keystore.Options{CacheTTL: time.Hour}, Config{OpsListen: "127.0.0.1:0", Version: "v1.2.3"})
	token, id := s.generate("keystore:admin", "a")
	for range 3 {
		require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
	}
	require.Equal(t, 403, s.get("/verify?scope=b", token).StatusCode)
	require.Equal(t, 401, s.get("/verify", token+"x").StatusCode)
	require.Equal(t, 401, s.get("/verify", "").StatusCode)
	require.Equal(t, 200, s.get("/v1/keys/"+id, token).StatusCode)
	require.Equal(t, 404, s.get("/v1/keys/0000000000000000", token).StatusCode)
	require.Equal(t, 404, s.get("/metrics", "").StatusCode, "it is on its own listener")
	scrape := func() string { return s.ask("GET", "http://"+s.ops+"/metrics", "", "").body }
	var text string
	require.Eventually(t, func() bool { // a request is counted when it has been answered
		text = scrape()
		return metric(t, text, `keystore_http_requests_total{code="404",method="GET",route="other"}`) == -1 &&
			metric(t, text, `keystore_http_requests_total{code="404",method="GET",route="/metrics"}`) == 1
	}, patience, time.Millisecond)
	for name, value := range map[string]float64{
		`keystore_lookups_total{reason="ok"}`:                                         5,
		`keystore_lookups_total{reason="missing_scope"}`:                              1,
		`keystore_lookups_total{reason="malformed"}`:                                  1,
		`keystore_operation_seconds_count{operation="lookup"}`:                        7,
		`keystore_operation_seconds_count{operation="get"}`:                           2,
		`keystore_http_requests_total{code="200",method="GET",route="/verify"}`:       3,
		`keystore_http_requests_total{code="401",method="GET",route="/verify"}`:       2,
		`keystore_http_requests_total{code="403",method="GET",route="/verify"}`:       1,
		`keystore_http_requests_total{code="200",method="GET",route="/v1/keys/{id}"}`: 1,
		`keystore_http_requests_total{code="404",method="GET",route="/v1/keys/{id}"}`: 1,
		`keystore_http_request_seconds_count{route="/verify"}`:                        6,
		`keystore_cache_misses_total`:                                                 1,
		`keystore_cache_entries`:                                                      1,
		`keystore_cache_staleness_bound_seconds`:                                      3600,
		`keystore_watch_state{state="unsupported"}`:                                   1,
		`keystore_watch_state{state="active"}`:                                        0,
		`keystore_http_connections{listener="ops"}`:                                   1,
		`keystore_build_info{goversion="` + goVersion(text) + `",version="v1.2.3"}`:   1,
	} {
		require.Equal(t, value, metric(t, text, name), name)
	}
	require.Positive(t, metric(t, text, `keystore_store_call_seconds_count{call="get",outcome="ok"}`))
	require.Positive(t, metric(t, text, `keystore_store_call_seconds_count{call="get",outcome="not_found"}`))
	require.Positive(t, metric(t, text, `go_goroutines`))
	require.NotContains(t, text, id)
	require.NotContains(t, text, "alice")
}

func TestEveryMetricIsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "serve.md"))
	require.NoError(t, err)
	s := serve(t, Config{})
	token, _ := s.generate("a")
	s.get("/verify", token)
	s.get("/verify", token) // after which the first one has been counted
	names := regexp.MustCompile(`(?m)^# TYPE (keystore_\S+)`).FindAllStringSubmatch(s.get("/metrics", "").body, -1)
	require.Greater(t, len(names), 10)
	for _, name := range names {
		require.Contains(t, string(page), "`"+name[1])
	}
}

func goVersion(text string) string {
	_, rest, _ := strings.Cut(text, `goversion="`)
	version, _, _ := strings.Cut(rest, `"`)
	return version
}

// Whatever clients send, there are not more series than before.
func TestSeriesAreBounded(t *testing.T) {
	s := serve(t, Config{})
	token, _ := s.generate("keystore:admin", "a")
	spray := func(round int) {
		for i := range 100 {
			n := fmt.Sprint(round, "-", i)
			for _, path := range []string{"/" + n, "/v1/" + n, "/v1/keys/" + n, "/v1/keys/" + n + "/rotate", "/v1/keys/x/" + n, "/verify/" + n, "/verify?scope=" + n, "/v1/keys?owner=" + n} {
				s.get(path, token)
			}
			s.ask("M"+strconv.Itoa(round*1000+i), s.url("/"), "", "")
			s.get("/verify", token+n)
		}
	}
	series := func() []string {
		names := make(map[string]bool)
		for _, m := range regexp.MustCompile(`(?m)^keystore_[^ ]*`).FindAllString(s.get("/metrics", "").body, -1) {
			names[m] = true
		}
		return slices.Sorted(maps.Keys(names))
	}
	spray(1)
	series() // which counts itself
	before := series()
	spray(2)
	require.Equal(t, before, series())
	require.Less(t, len(before), 500)
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[string]error{
		"ok": nil, "not_found": fmt.Errorf("x: %w", backend.ErrNotFound), "exists": backend.ErrExists, "conflict": backend.ErrConflict,
		"canceled": context.Canceled, "timeout": context.DeadlineExceeded, "error": errors.New("x"),
	} {
		require.Equal(t, want, callOutcome(err))
	}
	require.Equal(t, "panic", lookupReason(errors.New("x")))
}

// The caller's own observer hears of everything too.
func TestObserverOfTheOptions(t *testing.T) {
	o := new(observer)
	m := newMetrics("", o)
	ctx, end := m.Begin(t.Context(), keystore.Operation{Name: "lookup"})
	require.Equal(t, "seen", ctx.Value(observerKey{}))
	end(keystore.ErrClosed)
	require.Equal(t, []string{"lookup", keystore.ErrClosed.Error()}, o.heard)
}

type observer struct{ heard []string }

type observerKey struct{}

func (o *observer) Begin(ctx context.Context, op keystore.Operation) (context.Context, func(error)) {
	o.heard = append(o.heard, op.Name)
	return context.WithValue(ctx, observerKey{}, "seen"), func(err error) { o.heard = append(o.heard, err.Error()) }
}
