package redis_test

import (
	"context"
	"crypto/fips140"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

func TestMain(m *testing.M) {
	// Up to a second after its client was closed, go-redis still tries to reach
	// a server that was not there.
	drivertest.Main(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// What a test waits for in vain before it fails.
const (
	waitLimit = 20 * time.Second
	waitTick  = 5 * time.Millisecond
)

func TestConformance(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		client := clientOf(t, miniOptions(t))
		calls := recordCalls(client)
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			b, err := redis.New(client, &redis.Options{Namespace: name})
			require.NoError(tb, err)
			return b
		})
		calls.check(t)
	})
	t.Run("redis-server", func(t *testing.T) { conformance.Run(t, openNamed(testserver.RedisURL(t), nil)) })
	t.Run("redis-server, Gets in pipelines", func(t *testing.T) {
		open := openNamed(testserver.RedisURL(t), nil)
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			return redis.GatherAll(open(tb, name).(*redis.Backend))
		})
	})
	t.Run("redis-server, RESP 2", func(t *testing.T) {
		conformance.Run(t, openNamed(withParameter(t, testserver.RedisURL(t), "protocol", "2"), nil))
	})
	t.Run("redis-server, a client of default settings", func(t *testing.T) {
		client := clientOf(t, &goredis.Options{Addr: testserver.StartRedis(t).Addr()})
		calls := recordCalls(client)
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			b, err := redis.New(client, &redis.Options{Namespace: name})
			require.NoError(tb, err)
			return b
		})
		calls.check(t)
	})
}

// openNamed opens stores of one server by URL, told apart by namespace.
func openNamed(rawURL string, o *backend.OpenOptions) conformance.Opener {
	return func(tb testing.TB, name string) backend.Backend {
		b, err := backend.Open(testContext(tb), withParameter(tb, rawURL, "namespace", name), o)
		require.NoError(tb, err)
		return b
	}
}

func withParameter(t testing.TB, rawURL, name, value string) string {
	t.Helper()
	before, query, _ := strings.Cut(rawURL, "?")
	values, err := url.ParseQuery(query)
	require.NoError(t, err)
	values.Set(name, value)
	return before + "?" + values.Encode()
}

// onServers runs a test on an in-process imitation of a server and on a real one.
func onServers(t *testing.T, test func(t *testing.T, client *goredis.Client)) {
	t.Run("miniredis", func(t *testing.T) {
		test(t, clientOf(t, miniOptions(t)))
	})
	t.Run("redis-server", func(t *testing.T) {
		test(t, clientOf(t, &goredis.Options{Addr: testserver.StartRedis(t).Addr()}))
	})
}

func clientOf(t testing.TB, o *goredis.Options) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(o)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// handleOn opens a handle and closes it when the test ends.
func handleOn(t testing.TB, client goredis.UniversalClient, o *redis.Options) *redis.Backend {
	t.Helper()
	b, err := redis.New(client, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// openURL opens a store by URL and closes it when the test ends.
func openURL(t testing.TB, rawURL string) *redis.Backend {
	t.Helper()
	b, err := backend.Open(testContext(t), rawURL, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b.(*redis.Backend)
}

// testContext bounds what a test waits for.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func record(id, owner, data string) backend.Record {
	return backend.Record{ID: id, Owner: owner, Data: []byte(data)}
}

func create(t testing.TB, b backend.Backend, records ...backend.Record) {
	t.Helper()
	for _, r := range records {
		require.NoError(t, b.Create(testContext(t), r))
	}
}

func get(t testing.TB, b backend.Backend, id string) backend.Record {
	t.Helper()
	r, err := b.Get(testContext(t), id)
	require.NoError(t, err)
	return r
}

// listAll walks over all pages.
func listAll(t testing.TB, b backend.Backend, owner string, limit int) []backend.Record {
	t.Helper()
	var all []backend.Record
	after := ""
	for {
		page, err := b.List(testContext(t), backend.ListOptions{Owner: owner, After: after, Limit: limit})
		require.NoError(t, err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1].ID
	}
}

func idsOf(records []backend.Record) []string {
	ids := []string{}
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

// startMini starts an imitation of a server in this process. It computes the
// digests of scripts itself, which FIPS mode does not let it.
func startMini(t testing.TB) *miniredis.Miniredis {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("miniredis uses SHA-1")
	}
	server := miniredis.NewMiniRedis()
	require.NoError(t, server.Start())
	t.Cleanup(server.Close)
	return server
}

// miniOptions are those of a client of startMini.
func miniOptions(t testing.TB) *goredis.Options {
	t.Helper()
	return &goredis.Options{Addr: startMini(t).Addr()}
}
