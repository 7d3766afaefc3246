package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// unhurried is a probe interval in which all that these tests change is changed: what
// breaks is not noticed before, and a busy machine makes no probe late.
const unhurried = 500 * time.Millisecond

// changeAll changes each record once: every third is deleted, the others get new
// data.
func changeAll(t *testing.T, b *redis.Backend, ids []string) {
	t.Helper()
	for i, id := range ids {
		change := func() error {
			if i%3 == 0 {
				return b.Delete(testContext(t), id)
			}
			r, err := b.Get(testContext(t), id)
			if err != nil {
				return err
			}
			r.Data = append(r.Data, '+')
			return b.Update(testContext(t), r)
		}
		require.Eventually(t, func() bool { return change() == nil }, waitLimit, waitTick)
	}
}

func createAll(t *testing.T, b *redis.Backend) []string {
	t.Helper()
	var ids []string
	for i := range 64 {
		ids = append(ids, fmt.Sprint("key-", i))
		create(t, b, record(ids[i], "o", "d"))
	}
	return ids
}

// detoured sends the subscription of Watch another way than everything else.
type detoured struct {
	*redis.Backend
	client *goredis.Client
	detour *atomic.Bool
}

func (d detoured) Watch(ctx context.Context) (<-chan string, error) {
	// Connections for commands and for pipelines, so that nobody else needs one now.
	if err := d.client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	pipe := d.client.Pipeline()
	pipe.Ping(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	d.detour.Store(true)
	defer d.detour.Store(false)
	return d.Backend.Watch(ctx)
}

// What another program changes while the subscription is broken, whatever breaks it,
// reaches a cache that is kept by Watch.
func TestWatchGap(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// breaks what the subscription passes through, or all connections.
		breaks, mends func(p *testserver.Proxy, server *testserver.Redis)
		all           bool
	}{
		"subscription cut, and not to be had for a while": {
			func(p *testserver.Proxy, s *testserver.Redis) {
				p.SetPlan(func(request []byte) testserver.Fault {
					if bytes.Contains(request, []byte("\r\nsubscribe\r\n")) {
						return testserver.CutBefore
					}
					return testserver.Pass
				})
				s.Client().ClientKillByFilter(testContext(t), "TYPE", "pubsub")
			},
			func(p *testserver.Proxy, _ *testserver.Redis) { p.SetPlan(nil) }, true,
		},
		"subscription swallowed": {breaks: func(p *testserver.Proxy, _ *testserver.Redis) { p.BlackHole(true) }},
		"subscription half open": {breaks: func(p *testserver.Proxy, _ *testserver.Redis) { p.HalfOpen() }},
		"all cut":                {breaks: func(p *testserver.Proxy, _ *testserver.Redis) { p.CutAll() }, all: true},
		"all half open":          {breaks: func(p *testserver.Proxy, _ *testserver.Redis) { p.HalfOpen() }, all: true},
		"all swallowed for a while": {
			func(p *testserver.Proxy, _ *testserver.Redis) { p.BlackHole(true) },
			func(p *testserver.Proxy, _ *testserver.Redis) { p.BlackHole(false) }, true,
		},
		"refused for a while": {
			func(p *testserver.Proxy, _ *testserver.Redis) { p.Refuse(true) },
			func(p *testserver.Proxy, _ *testserver.Redis) { p.Refuse(false) }, true,
		},
		"server killed and back": {breaks: func(_ *testserver.Proxy, s *testserver.Redis) {
			s.Kill()
			s.Start()
		}, all: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			proxy := testserver.StartProxy(t, server.Addr())
			other := openURL(t, server.URL())
			ids := createAll(t, other)
			client, detour := twoWays(t, server.Addr(), proxy.Addr())
			if c.all {
				client = clientOf(t, &goredis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true})
			}
			b := handleOn(t, client, &redis.Options{ProbeInterval: unhurried})
			cache := drivertest.StartCache(t, detoured{b, client, detour}, ids...)
			cache.Await(other)

			c.breaks(proxy, server)
			changeAll(t, other, ids)
			if c.mends != nil {
				c.mends(proxy, server)
			}
			cache.Await(other)
			require.Positive(t, proxy.Connections())
			if c.all { // and it hears on
				create(t, other, backend.Record{ID: ids[0], Owner: "o", Data: []byte("anew")})
				cache.Await(other)
			}
		})
	}
}

func TestWatchGapOfAFailover(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	other := openURL(t, c.URL())
	ids := createAll(t, other)
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	var caches []*drivertest.Cache
	for range 6 { // subscriptions on several nodes
		caches = append(caches, drivertest.StartCache(t, handleOn(t, client, &redis.Options{ProbeInterval: unhurried}), ids...))
	}
	for _, cache := range caches {
		cache.Await(other)
	}
	c.MasterOf(slotOfShard(0)).Kill()
	changeAll(t, other, ids)
	for _, cache := range caches {
		cache.Await(other)
	}
}
