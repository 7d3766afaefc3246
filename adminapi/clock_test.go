package adminapi

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// States and lifetimes are judged by the clock of the Keystore, not the system's.
func TestTheClockOfTheKeystore(t *testing.T) {
	now := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newSite(t, nil, keystore.Options{Now: func() time.Time { return now }}, as(Grant{AllOwners: true, ExpiresAt: now.Add(time.Hour)}))
	made := s.do(request{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": 60}}).want(t, 201, "")
	key := made.body["key"].(map[string]any)
	require.Equal(t, "2020-01-01T00:01:00Z", key["expires_at"])
	require.Equal(t, "active", key["state"])
	list := func(state string) int {
		return len(s.do(request{method: "GET", path: "/keys?state=" + state}).want(t, 200, "").body["keys"].([]any))
	}
	require.Equal(t, []int{1, 0}, []int{list("active"), list("expired")})
	now = now.Add(time.Minute)
	require.Equal(t, []int{0, 1}, []int{list("active"), list("expired")})
}
