package history

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/url"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	_ "example.com/keystore/redis"
)

// urlServer is a server that is reached by URL, with a store for each value of one
// of the URL's parameters.
type urlServer struct {
	url       string
	parameter string          // names a store
	run       string          // begins the names, since a server of the user's is there for the next run too
	names     map[string]bool // of the stores
	again     func()          // stops the server and starts it with its data
}

func newURLServer(t *testing.T, rawURL, parameter string, again func()) *urlServer {
	s := &urlServer{url: rawURL, parameter: parameter, run: rand.Text()[:8], names: make(map[string]bool), again: again}
	t.Cleanup(func() {
		for name := range s.names {
			s.empty(t, name)
		}
	})
	return s
}

func (s *urlServer) handle(t require.TestingT, name string) backend.Backend {
	s.names[name] = true
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	query := u.Query()
	query.Set(s.parameter, s.run+name)
	u.RawQuery = query.Encode()
	b, err := backend.Open(context.Background(), u.String(), nil)
	require.NoError(t, err)
	return b
}

func (s *urlServer) restart(require.TestingT) { s.again() }

// empty deletes all records of a store.
func (s *urlServer) empty(t *testing.T, name string) {
	b := s.handle(t, name)
	defer func() { require.NoError(t, b.Close()) }()
	for {
		page, err := b.List(context.Background(), backend.ListOptions{Limit: backend.MaxLimit})
		require.NoError(t, err)
		if len(page) == 0 {
			return
		}
		for _, r := range page {
			require.NoError(t, b.Delete(context.Background(), r.ID))
		}
	}
}

func startMiniredis(t *testing.T) server {
	return newURLServer(t, "redis://"+miniredis.RunT(t).Addr(), "namespace", func() {})
}

// startRedisServer is the user's server, or one that the tests of this process share.
func startRedisServer(t *testing.T) server {
	return newURLServer(t, testserver.RedisURL(t), "namespace", nil)
}

// startDurableRedis is killed and started again between.
func startDurableRedis(t *testing.T) server {
	r := testserver.StartRedis(t)
	return newURLServer(t, r.URL(), "namespace", func() { r.Kill(); r.Start() })
}

// lineRate is how many requests of a handle meet a fault on the line.
const lineRate = 0.04

// startRedisBehindFaults is reached through a line that cuts requests and replies.
func startRedisBehindFaults(t *testing.T) server {
	r := testserver.StartRedis(t)
	p := testserver.StartProxy(t, r.Addr())
	s := newURLServer(t, "redis://"+p.Addr()+"/0", "namespace", nil)
	s.breakLine(t, p)
	return s
}

// breakLine has the proxy cut requests and replies at random, from now until the
// test ends.
func (s *urlServer) breakLine(t *testing.T, p *testserver.Proxy) {
	random := mathrand.New(mathrand.NewPCG(testSeed(t), 0))
	faults := []testserver.Fault{testserver.CutBefore, testserver.CutRequest, testserver.DropReply, testserver.CutReply}
	p.SetPlan(func([]byte) testserver.Fault {
		if random.Float64() >= lineRate {
			return testserver.Pass
		}
		return faults[random.IntN(len(faults))]
	})
	t.Cleanup(func() { // before the stores are emptied
		p.SetPlan(nil)
		for _, f := range faults {
			require.Positive(t, p.Count(f), "requests that met fault %d", f)
		}
	})
}
