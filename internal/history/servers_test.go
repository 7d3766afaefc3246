package history

import (
	"context"
	"crypto/fips140"
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/url"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
	_ "example.com/keystore/mongo"
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
	line      *testserver.Proxy
	plan      func(request []byte) testserver.Fault // of the line while clients work; nil: none
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
	if fips140.Enforced() {
		t.Skip("miniredis computes SHA-1, which FIPS-only mode forbids; the other servers are tested")
	}
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

// startMongoWire speaks the protocol of MongoDB inside the test, and is atomic as
// MongoDB is.
func startMongoWire(t *testing.T) server {
	return newURLServer(t, mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary).URL(), "collection", func() {})
}

// mongoServer is the user's server, or FerretDB, with a collection for each store.
type mongoServer struct {
	t      *testing.T
	stores map[string]string // their URLs
}

func startMongoServer(t *testing.T) server { return mongoServer{t, make(map[string]string)} }

func (m mongoServer) handle(t require.TestingT, name string) backend.Backend {
	if m.stores[name] == "" {
		m.stores[name] = testserver.MongoCollection(m.t, name)
	}
	b, err := backend.Open(context.Background(), m.stores[name], nil)
	require.NoError(t, err)
	return b
}

func (m mongoServer) restart(require.TestingT) {}

func (m mongoServer) breaking(bool) {}

// startDurableFerretDB is killed and started again between.
func startDurableFerretDB(t *testing.T) server {
	f := testserver.StartFerretDB(t)
	return newURLServer(t, f.URL(), "collection", func() { f.Kill(); f.Start() })
}

// lineRate is how many requests of a handle meet a fault on the line.
const lineRate = 0.04

// startRedisBehindFaults is reached through a line that cuts requests and replies.
func startRedisBehindFaults(t *testing.T) server {
	line := testserver.StartProxy(t, testserver.StartRedis(t).Addr())
	return newURLServer(t, "redis://"+line.Addr()+"/0", "namespace", nil).behind(t, line)
}

func startMongoBehindFaults(t *testing.T) server {
	line := testserver.StartProxy(t, mongowire.Start(t, mongowire.Memory().Handle, mongowire.Primary).Addr())
	return newURLServer(t, "mongodb://"+line.Addr()+"/?directConnection=true", "collection", nil).behind(t, line)
}

func startFerretDBBehindFaults(t *testing.T) server {
	line := testserver.StartProxy(t, testserver.StartFerretDB(t).Addr())
	return newURLServer(t, "mongodb://"+line.Addr()+"/", "collection", nil).behind(t, line)
}

// behind has the line to the server cut requests and replies at random while it
// breaks.
func (s *urlServer) behind(t *testing.T, line *testserver.Proxy) *urlServer {
	s.line = line
	random := mathrand.New(mathrand.NewPCG(testSeed(t), 0))
	faults := []testserver.Fault{testserver.CutBefore, testserver.CutRequest, testserver.DropReply, testserver.CutReply}
	s.plan = func([]byte) testserver.Fault {
		if random.Float64() >= lineRate {
			return testserver.Pass
		}
		return faults[random.IntN(len(faults))]
	}
	t.Cleanup(func() {
		met := 0
		for _, f := range faults {
			met += s.line.Count(f)
		}
		require.Positive(t, met, "requests that met a fault")
	})
	return s
}

// breaking lets the line break, or not any more.
func (s *urlServer) breaking(on bool) {
	switch {
	case s.line == nil:
	case on:
		s.line.SetPlan(s.plan)
	default:
		s.line.SetPlan(nil)
	}
}
