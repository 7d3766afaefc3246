package adminapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
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
// answer against it with an independent validator: no status, media type or body
// that is not described, and no 5xx but the 503 of a store that fails.
// KEYSTORE_TEST_LONG=1 makes it last; KEYSTORE_TEST_SEED repeats a run.
func TestRandomRequests(t *testing.T) {
	requests := 3000
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

	var fault atomic.Int32 // 0: none
	store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		write := c.Method == faulty.Create || c.Method == faulty.Update || c.Method == faulty.Delete
		switch f := fault.Load(); {
		case f == 1:
			return faulty.Refuse(errors.Join(errDown, backend.ErrNotApplied))
		case f == 2 && write:
			return faulty.Refuse(errDown) // it may have happened
		case f == 3 && write:
			return faulty.LoseReply(errDown) // it did
		}
		return nil
	})
	s := newSite(t, store, keystore.Options{MaxTTL: 50 * 365 * 24 * time.Hour, DefaultTTL: time.Hour, OpTimeout: time.Second}, nil)
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
		// A tenth of the time the store fails, in one of three ways.
		failing := n/30%10 == 9
		fault.Store(0)
		if failing {
			fault.Store(int32(1 + n/300%3))
		} else if len(g.ids) == 0 || n%100 == 0 {
			g.prepare()
		}
		r, op := g.request()
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, r)
		got := w.Result()
		raw, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		g.check(op, r, got, raw, failing)
		seen[op.id+" "+strconv.Itoa(got.StatusCode)]++
	}
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
	at := op.path + op.method + status + media
	if g.compiled[at] == nil {
		g.compiled[at] = g.d.schema(g, "paths", op.path, op.method, "responses", status, "content", media, "schema")
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(g, err, show())
	require.NoError(g, g.compiled[at].Validate(body), show())
	for name := range response.Headers {
		if name != "Retry-After" {
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
