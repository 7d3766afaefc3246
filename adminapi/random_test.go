package adminapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// TestRandomRequests makes requests of the description that the server gives of
// itself (valid ones, ones at the bounds, mutated ones, garbage) and checks each
// answer against it with an independent validator: no status, media type, body or
// member that is not described, no success for a request that is not, and no 5xx but
// the 503 of a store that fails.
// KEYSTORE_TEST_LONG=1 makes it last; KEYSTORE_TEST_SEED repeats a run.
func TestRandomRequests(t *testing.T) {
	requests := 4000
	if os.Getenv("KEYSTORE_TEST_LONG") != "" {
		requests = 400_000
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KEYSTORE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("KEYSTORE_TEST_SEED=%d", seed)

	var fault, calls atomic.Int32 // 0: none; of the store in one request
	store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		write := slices.Contains([]faulty.Method{faulty.Create, faulty.Update, faulty.Delete, faulty.ResetCounts}, c.Method)
		switch f := fault.Load(); {
		case f == 1:
			return faulty.Refuse(errors.Join(errDown, backend.ErrNotApplied))
		case f == 2 && write:
			return faulty.Refuse(errDown) // it may have happened
		case f == 3 && write:
			return faulty.LoseReply(errDown) // it did
		case f == 4 && calls.Add(1) > 1: // after the caller's key was looked up
			return faulty.Refuse(errors.Join(errDown, backend.ErrNotApplied))
		}
		return nil
	})
	s := newSite(t, store, keystore.Options{MaxTTL: 50 * 365 * 24 * time.Hour, DefaultTTL: time.Hour, OpTimeout: time.Second, Plans: somePlans}, nil)
	g := &generator{T: t, Rand: rand.New(rand.NewPCG(seed, 0)), site: s, d: readDescription(t, s.http), compiled: map[string]*jsonschema.Schema{}}
	for path, methods := range g.d.Paths {
		for method := range methods {
			g.operations = append(g.operations, [2]string{path, method})
		}
	}
	slices.SortFunc(g.operations, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	g.prepare()
	seen := map[string]int{}
	for n := range requests {
		// A tenth of the time the store fails, in one of four ways.
		failing := n/30%10 == 9
		fault.Store(0)
		if !failing && (len(g.ids) == 0 || n%100 == 0) {
			g.prepare()
		}
		r, op := g.request()
		self, err := s.ks.Get(t.Context(), g.selfID)
		require.True(t, err == nil || errors.Is(err, keystore.ErrNotFound)) // it may have been deleted
		if failing {
			fault.Store(int32(1 + n/300%4))
			calls.Store(0)
		}
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, r)
		got := w.Result()
		raw, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		g.check(op, r, got, raw, failing)
		if got.StatusCode < 300 {
			if f := fault.Load(); (f == 1 || f == 4) && !strings.HasPrefix(op.path, "/openapi") && op.path != "/plans" { // nothing came from the store
				require.True(t, op.path == "/lookup" && bytes.HasPrefix(raw, []byte(`{"valid":false`)), "%s %s -> %s", r.Method, r.URL, raw)
			}
			g.checkRequest(op, r)
			if r.Header.Get("X-API-Key") == g.self {
				g.checkPower(r, self, raw)
			}
		}
		seen[op.id+" "+strconv.Itoa(got.StatusCode)]++
	}
	limited := 0
	for name, times := range seen {
		if strings.HasSuffix(name, " 429") {
			limited += times
		}
	}
	require.NotZero(t, limited, "no key ran out of requests")
	for _, methods := range g.d.Paths {
		for _, op := range methods {
			for status := range op.Responses {
				if status < "300" { // else this test would see refusals only
					require.NotZero(t, seen[op.OperationID+" "+status], op.OperationID)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		t.Log(name, seen[name])
	}
}

// check compares an answer with the description.
func (g *generator) check(op target, r *http.Request, got *http.Response, raw []byte, failing bool) {
	show := func() string {
		return fmt.Sprintf("%s %s -> %d %s", r.Method, r.URL, got.StatusCode, raw)
	}
	status := strconv.Itoa(got.StatusCode)
	response, ok := g.d.Paths[op.path][op.method].Responses[status]
	require.True(g, ok, "not described: %s", show())
	require.False(g, got.StatusCode >= 500 && (got.StatusCode != 503 || !failing), show())
	require.Regexp(g, `^[0-9A-Za-z._-]{1,64}$`, got.Header.Get("X-Request-Id"), show())
	if len(response.Content) == 0 {
		require.Empty(g, raw, show())
		return
	}
	media := got.Header.Get("Content-Type")
	require.Contains(g, response.Content, media, show())
	if strings.HasPrefix(op.path, "/openapi") {
		return
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(g, err, show())
	schema := g.schema("paths", op.path, op.method, "responses", status, "content", media, "schema")
	require.NoError(g, schema.Validate(body), show())
	if got.StatusCode >= 400 { // the schema leaves room for members to come
		described := g.schemaAt("components", "schemas", "Problem", "properties")
		for member := range body.(map[string]any) {
			require.Contains(g, described, member, show())
		}
	}
	for name := range response.Headers {
		if name != "Retry-After" && (!strings.HasPrefix(name, "RateLimit") || bytes.Contains(raw, []byte(`"code":"rate_limited"`))) {
			require.NotEmpty(g, got.Header.Get(name), "%s: %s", name, show())
		}
	}
	g.checkSecrets(op, raw, show)
}

// checkSecrets: only the answers that issue a token hold one, and a problem that says
// the token may be live.
func (g *generator) checkSecrets(op target, raw []byte, show func() string) {
	if !bytes.Contains(raw, []byte(`"code"`)) || bytes.Contains(raw, []byte(`"unknown_outcome"`)) || op.path == "/lookup" {
		return
	}
	for _, token := range []string{g.admin, g.self, g.plain} {
		require.NotContains(g, string(raw), token, show())
	}
}

// checkRequest: what succeeded was a request of the description.
func (g *generator) checkRequest(op target, r *http.Request) {
	show := fmt.Sprintf("%s %s %v %q", r.Method, r.URL, r.Header, g.sent)
	described := g.d.Paths[op.path][op.method]
	query := r.URL.Query()
	for i, p := range described.Parameters {
		given := query[p.Name]
		if p.In == "header" {
			given = r.Header.Values(p.Name)
		} else {
			delete(query, p.Name)
		}
		for _, text := range given {
			var value any = text
			if p.Schema["type"] == "integer" {
				value = json.Number(text)
			}
			require.NoError(g, g.schema("paths", op.path, op.method, "parameters", strconv.Itoa(i), "schema").Validate(value), "%s: %s", p.Name, show)
		}
		require.LessOrEqual(g, len(given), 1, "%s: %s", p.Name, show)
	}
	if !strings.HasPrefix(op.path, "/openapi") { // files
		require.Empty(g, query, show)
	}
	if described.RequestBody == nil {
		return
	}
	if len(g.sent) == 0 {
		require.False(g, described.RequestBody.Required, show)
		return
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	require.NoError(g, err, show)
	require.Contains(g, described.RequestBody.Content, media, show)
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(g.sent))
	require.NoError(g, err, show)
	require.NoError(g, g.schema("paths", op.path, op.method, "requestBody", "content", media, "schema").Validate(body), show)
}

// checkPower: with keystore:self nobody saw a key of somebody else, and no token came
// of a key that is good for more than the own one was before.
func (g *generator) checkPower(r *http.Request, self keystore.Key, raw []byte) {
	show := fmt.Sprintf("%s %s %q -> %s", r.Method, r.URL, g.sent, raw)
	require.NotContains(g, string(raw), `"owner":"bob"`, show)
	var issued struct {
		Token string
		Key   struct {
			ID        string
			Scopes    []string
			ExpiresAt time.Time `json:"expires_at"`
			Plan      string
			Limits    []keystore.Limit
		}
	}
	if json.Unmarshal(raw, &issued) != nil || issued.Token == "" || issued.Key.ID == self.ID {
		return
	}
	for _, scope := range issued.Key.Scopes {
		probe := strings.Replace(scope, "*", "zz", 1) // a scope that it covers
		require.True(g, self.Scopes.Has(probe), "%s: %s", scope, show)
		require.False(g, strings.HasPrefix(scope, "keystore"), show)
	}
	assertWithin(g, self, issued.Key.Plan, issued.Key.Limits, show)
	if end := self.ExpiresAt; !end.IsZero() {
		require.False(g, issued.Key.ExpiresAt.IsZero() || issued.Key.ExpiresAt.After(end), show)
	}
}
