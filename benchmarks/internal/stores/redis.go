package stores

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// withoutFile is a line of redis.conf: what is measured is not the disk.
const withoutFile = "appendonly no"

// RedisClient is a client with the settings that keystore's driver gives its own,
// except that it takes any address.
func RedisClient(addr string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func openRedis(tb testing.TB, keys int) *Store {
	tb.Helper()
	server := testserver.StartRedis(tb, withoutFile)
	return onRedis(tb, RedisClient(server.Addr()), keys)
}

// openCluster starts 3 masters, each with a replica.
func openCluster(tb testing.TB, keys int) *Store {
	tb.Helper()
	cluster := testserver.StartCluster(tb, withoutFile)
	return onRedis(tb, goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: cluster.Addrs(), ContextTimeoutEnabled: true, DisableIdentity: true, DialerRetries: 1, DisableRoutingPolicies: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}), keys)
}

// OnRedis is a store on a server that others use too. It closes the client.
func OnRedis(tb testing.TB, client *goredis.Client, keys int) *Store {
	tb.Helper()
	return onRedis(tb, client, keys)
}

// onRedis makes a store that keystore and the bare operations reach by the same
// client.
func onRedis(tb testing.TB, client goredis.UniversalClient, keys int) *Store {
	tb.Helper()
	s := &Store{tb: tb, Far: true, Bare: bareRedis{client}}
	back, err := redis.New(client, nil)
	s.must(err)
	s.Backend = back
	s.closing(client.Close)
	tb.Cleanup(s.Close)
	s.Tokens, err = fill(back, keys)
	s.must(err)
	return s
}

var errMissing = errors.New("stores: a record is missing")

// bareRedis keeps an owner's records in one slot, with a sorted set of their ids.
type bareRedis struct{ client goredis.UniversalClient }

// Reader is one GET.
func (r bareRedis) Reader(ids []string) (func(i int) (int, error), error) {
	known, err := r.names()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		if names[i] = known[id]; names[i] == "" {
			names[i] = "{keystore:0}:k:" + id // whatever it is, it is not there
		}
	}
	return func(i int) (int, error) {
		ctx, cancel := bounded()
		defer cancel()
		value, err := r.client.Get(ctx, names[i]).Bytes()
		if errors.Is(err, goredis.Nil) {
			return 0, nil
		}
		return len(value), err
	}, nil
}

// names are those of all records of keystore, by id.
func (r bareRedis) names() (map[string]string, error) {
	var mu sync.Mutex
	names := map[string]string{}
	scan := func(ctx context.Context, c *goredis.Client) error {
		all := c.Scan(ctx, 0, "*:k:*", 1000).Iterator()
		for all.Next(ctx) {
			name := all.Val()
			mu.Lock()
			names[name[strings.LastIndex(name, ":")+1:]] = name
			mu.Unlock()
		}
		return all.Err()
	}
	if cluster, ok := r.client.(*goredis.ClusterClient); ok {
		return names, cluster.ForEachMaster(context.Background(), scan)
	}
	return names, scan(context.Background(), r.client.(*goredis.Client))
}

func bareSet(owner string) string       { return "{bare:" + owner + "}" }
func bareValue(owner, id string) string { return bareSet(owner) + id }

// Put is a SET and a ZADD in one round trip, and not in one transaction.
func (r bareRedis) Put(id, owner string, value []byte) error {
	ctx, cancel := bounded()
	defer cancel()
	_, err := r.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.Set(ctx, bareValue(owner, id), value, 0)
		p.ZAdd(ctx, bareSet(owner), goredis.Z{Member: id})
		return nil
	})
	return err
}

// Replace is a GET and a SET.
func (r bareRedis) Replace(id, owner string, value []byte) error {
	ctx, cancel := bounded()
	defer cancel()
	if err := r.client.Get(ctx, bareValue(owner, id)).Err(); err != nil {
		return err
	}
	return r.client.Set(ctx, bareValue(owner, id), value, 0).Err()
}

// Page is a ZRANGEBYLEX and an MGET.
func (r bareRedis) Page(owner string, limit int) (int, error) {
	ctx, cancel := bounded()
	defer cancel()
	ids, err := r.client.ZRangeByLex(ctx, bareSet(owner), &goredis.ZRangeBy{Min: "-", Max: "+", Count: int64(limit)}).Result()
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	for i := range ids {
		ids[i] = bareValue(owner, ids[i])
	}
	values, err := r.client.MGet(ctx, ids...).Result()
	return len(values), err
}

// Delete is a DEL and a ZREM in one round trip.
func (r bareRedis) Delete(owner string, ids []string) error {
	ctx, cancel := bounded()
	defer cancel()
	names, members := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		names[i], members[i] = bareValue(owner, id), id
	}
	_, err := r.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.Del(ctx, names...)
		p.ZRem(ctx, bareSet(owner), members...)
		return nil
	})
	return err
}
