package adminapi

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/httpauth"
	"example.com/keystore/memory"
)

type auditor struct {
	mu     sync.Mutex
	events []keystore.Event
}

func (a *auditor) Audit(_ context.Context, events []keystore.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, events...)
	return nil
}

// TestAuditOfTheProgramAround: what it said of the caller and the request stays, where
// the Grant says nothing else.
func TestAuditOfTheProgramAround(t *testing.T) {
	for _, test := range []struct{ outer, actor, wantID, wantActor string }{
		{"mine-1", "", "mine-1", "user alice"},
		{"mine-1", "alice by cookie", "mine-1", "alice by cookie"},
		{"not an id", "", "", "user alice"},
	} {
		var trail auditor
		s := newSite(t, nil, keystore.Options{Audit: &trail}, as(Grant{Owner: "alice", Actor: test.actor}))
		r := request{method: "POST", path: "/keys", body: m{}, header: map[string]string{"X-Request-Id": "of-the-client"}}.build(t)
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, r.WithContext(keystore.WithActor(keystore.WithRequestID(r.Context(), test.outer), "user alice")))
		replyOf(t, w.Result()).want(t, 201, "")
		require.NoError(t, s.ks.Close()) // delivers what waits
		require.Len(t, trail.events, 1)
		assert.Equal(t, test.wantActor, trail.events[0].Actor)
		if test.wantID != "" {
			assert.Equal(t, test.wantID, trail.events[0].RequestID)
		}
		assert.Equal(t, trail.events[0].RequestID, w.Header().Get("X-Request-Id"))
	}
}

// TestAudit: each change tells who asked for it, in which request.
func TestAudit(t *testing.T) {
	var trail auditor
	s := newSite(t, nil, keystore.Options{Audit: &trail}, nil)
	admin, token := s.key(keystore.KeyParams{Owner: "root", Scopes: []string{ScopeAdmin}})
	want := []string{}
	for _, op := range changing {
		k, _ := s.key(keystore.KeyParams{Owner: "alice"})
		s.do(request{method: op.method, path: "/keys/" + k.ID + op.path, token: token, body: op.body, header: map[string]string{"X-Request-Id": "req-" + op.name}})
		want = append(want, "req-"+op.name)
	}
	s.do(request{method: "POST", path: "/keys", token: token, body: m{"owner": "alice"}, header: map[string]string{"X-Request-Id": "req-create"}}).want(t, 201, "")
	require.NoError(t, s.ks.Close()) // delivers what waits
	trail.mu.Lock()
	defer trail.mu.Unlock()
	var got []string
	for _, e := range trail.events {
		if e.RequestID != "" {
			got = append(got, e.RequestID)
			assert.Equal(t, admin.ID, e.Actor)
			assert.Equal(t, e.RequestID == "req-reset-limits", e.Action == keystore.ActionResetLimits)
		}
	}
	assert.Subset(t, append(want, "req-create"), got)
	assert.Subset(t, got, []string{"req-create", "req-patch", "req-rotate", "req-disable", "req-revoke", "req-reset-limits", "req-delete"})
}

// TestThrottle: whoever guesses is told to wait, as httpauth tells it.
func TestThrottle(t *testing.T) {
	ks, err := keystore.New(memory.New(), nil)
	require.NoError(t, err)
	defer ks.Close()
	auth, err := httpauth.New(ks, &httpauth.Options{FailuresPerSecond: 0.001, FailureBurst: 3})
	require.NoError(t, err)
	api, err := New(ks, &Options{Auth: auth})
	require.NoError(t, err)
	guess := func() reply {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/keys", nil)
		r.Header.Set("X-API-Key", "guess")
		api.ServeHTTP(w, r)
		return replyOf(t, w.Result())
	}
	for range 3 {
		guess().want(t, 401, "invalid_token")
	}
	assert.NotEmpty(t, guess().want(t, 429, "throttled").Header.Get("Retry-After"))
}
