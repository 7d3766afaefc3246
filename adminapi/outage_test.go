package adminapi

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

var errDown = errors.New("connection refused by redis://user:hunter2@db") // as a driver might say it

// TestOutage: a store that fails is 503 for every operation, never 404 and never
// 401, and nothing of its error reaches the client.
func TestOutage(t *testing.T) {
	down := false
	store := faulty.New(memory.New(), func(faulty.Call) faulty.Fault {
		if !down {
			return nil
		}
		return faulty.Refuse(errors.Join(errDown, backend.ErrNotApplied))
	})
	s := newSite(t, store, keystore.Options{}, as(everything))
	k, token := s.key(keystore.KeyParams{Owner: "alice"})
	down = true
	check := func(r request) {
		got := s.do(r).want(t, 503, "unavailable")
		assert.Equal(t, "5", got.Header.Get("Retry-After"))
		assert.NotContains(t, got.raw, "hunter2")
	}
	for _, op := range onKey {
		check(request{method: op.method, path: "/keys/" + k.ID + op.path, body: op.body})
		check(request{method: op.method, path: "/keys/" + k.ID + op.path, body: op.body, header: map[string]string{"If-Match": `"1"`}})
	}
	check(request{method: "POST", path: "/keys", body: m{"owner": "a"}})
	check(request{method: "GET", path: "/keys"})
	check(request{method: "GET", path: "/usage?owner=alice"})
	check(request{method: "POST", path: "/lookup", body: m{"token": token}})
	assert.Contains(t, s.log.String(), `"operation":"create-key"`)

	// With keys of the store the outage is seen when the caller is checked.
	byKey := newSite(t, store, keystore.Options{}, nil)
	byKey.do(request{method: "GET", path: "/keys", token: token}).want(t, 503, "unavailable")
}

// TestClosed: a keystore that was closed is an outage too.
func TestClosed(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	k, token := s.key(keystore.KeyParams{Owner: "alice"})
	require.NoError(t, s.ks.Close())
	s.do(request{method: "GET", path: "/keys/" + k.ID}).want(t, 503, "unavailable")
	s.do(request{method: "POST", path: "/lookup", body: m{"token": token}}).want(t, 503, "unavailable")
}

// TestUnknownOutcome: the reply to a write is lost. The token may be live, and is in
// the answer, which is not one of success.
func TestUnknownOutcome(t *testing.T) {
	var lose faulty.Method
	store := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		if lose == "" || c.Method != lose {
			return nil
		}
		return faulty.LoseReply(errDown)
	})
	s := newSite(t, store, keystore.Options{}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})

	unknown := func(method faulty.Method, r request) reply {
		lose = method
		got := s.do(r).want(t, 503, "unknown_outcome")
		lose = ""
		assert.Empty(t, got.Header.Get("Retry-After"), "repeating it would do it twice")
		assert.NotContains(t, got.raw, "hunter2")
		return got
	}
	made := unknown(faulty.Create, request{method: "POST", path: "/keys", body: m{"owner": "alice", "name": "ci"}})
	assert.Equal(t, "ci", made.body["key"].(map[string]any)["name"])
	_, err := s.ks.Lookup(t.Context(), made.body["token"].(string))
	assert.NoError(t, err, "this one did happen")

	rotated := unknown(faulty.Update, request{method: "POST", path: "/keys/" + k.ID + "/rotate", body: m{"grace_seconds": 0}})
	found, err := s.ks.Lookup(t.Context(), rotated.body["token"].(string))
	require.NoError(t, err)
	assert.Equal(t, 2, found.Generation)

	for _, op := range changing {
		if op.name == "rotate" {
			continue
		}
		lost := faulty.Update
		switch op.name {
		case "delete":
			lost = faulty.Delete
		case "reset-limits":
			lost = faulty.ResetCounts
		}
		var of keystore.Key
		of, _ = s.key(keystore.KeyParams{Owner: "alice"})
		if op.name == "enable" {
			s.do(request{method: "POST", path: "/keys/" + of.ID + "/disable"}).want(t, 200, "")
		}
		if op.name == "end-grace" {
			s.do(request{method: "POST", path: "/keys/" + of.ID + "/rotate", body: m{"grace_seconds": 60}}).want(t, 200, "")
		}
		got := unknown(lost, request{method: op.method, path: "/keys/" + of.ID + op.path, body: op.body})
		assert.NotContains(t, got.body, "token", op.name)
	}
	assert.NotContains(t, s.log.String(), made.body["token"].(string))
	assert.NotContains(t, s.log.String(), rotated.body["token"].(string))
}
