package httpauth

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// silent hides that a backend tells of changes.
type silent struct{ backend.Backend }

// 64 clients hold connections open while their key is revoked. Through the Keystore
// that revoked it, no request is served that began when Revoke had returned; through
// another one on the same store, none that began CacheTTL later. What is measured is
// begun before the lookup is, so no load can make a right answer look late.
func TestRevokeUnderLoad(t *testing.T) {
	const clients, bound = 64, 200 * time.Millisecond
	for _, c := range []struct {
		name  string
		own   bool
		bound time.Duration
	}{{"the same keystore", true, 0}, {"another keystore", false, bound}} {
		t.Run(c.name, func(t *testing.T) {
			store := silent{memory.New()}
			short := func(o *keystore.Options) { o.CacheTTL = bound }
			serving := newKeystore(t, store, short)
			revoking := serving
			if !c.own {
				revoking = newKeystore(t, silent{store}, short)
			}
			auth, err := New(serving, &Options{FailuresPerSecond: -1})
			require.NoError(t, err)
			var connections atomic.Int64
			server := httptest.NewUnstartedServer(auth.Require("a")(greet))
			server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}
			server.Start()
			defer server.Close()
			token, key, err := revoking.Generate(t.Context(), keystore.KeyParams{Owner: "alice", Scopes: []string{"a"}})
			require.NoError(t, err)

			transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients}
			defer transport.CloseIdleConnections()
			ask := func() int {
				r, err := http.NewRequest("GET", server.URL, nil)
				if err != nil {
					return 0
				}
				r.Header.Set("Authorization", "Bearer "+token.Reveal())
				answer, err := transport.RoundTrip(r)
				if err != nil {
					return 0
				}
				defer answer.Body.Close()
				io.Copy(io.Discard, answer.Body)
				return answer.StatusCode
			}
			var after atomic.Pointer[time.Time] // from when on nobody may be served
			var served, late atomic.Int64
			warm := make(chan struct{}, clients)
			var group sync.WaitGroup
			for range clients {
				group.Go(func() {
					told := false
					for refused := 0; refused < 5; {
						began := time.Now()
						status := ask()
						limit := after.Load()
						switch {
						case status == 200:
							served.Add(1)
							if limit != nil && began.After(*limit) {
								late.Add(1)
								return
							}
						case status == 401:
							refused++
						default:
							t.Errorf("status %d", status)
							return
						}
						if !told {
							warm <- struct{}{}
							told = true
						}
					}
				})
			}
			for range clients {
				<-warm
			}
			_, err = revoking.Revoke(t.Context(), key.ID, "stolen")
			limit := time.Now().Add(c.bound)
			require.NoError(t, err)
			after.Store(&limit)
			group.Wait()
			assert.Zero(t, late.Load(), "served past the bound")
			assert.GreaterOrEqual(t, served.Load(), int64(clients))
			// The client may make one more than it needs, but not one for each of its 6 requests.
			assert.Less(t, connections.Load(), int64(2*clients), "connections were not kept")
		})
	}
}
