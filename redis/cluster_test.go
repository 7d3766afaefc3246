package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// What needs a cluster that is well shares one.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	t.Run("conformance", func(t *testing.T) { conformance.Run(t, openNamed(c.URL(), nil)) })
	t.Run("processes", func(t *testing.T) {
		drivertest.Processes(t, withParameter(t, c.URL(), "namespace", "processes"), 3, drivertest.Sized(50, 2000))
	})
	t.Run("the keys of a command have one slot", func(t *testing.T) { testOneSlot(t, c) })
	t.Run("keys are spread evenly", func(t *testing.T) { testSpread(t, c) })
}

// The cluster itself says of the keys of every command that they have one slot.
func testOneSlot(t *testing.T, c *testserver.Cluster) {
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs()})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	calls := recordCalls(client)
	o := &redis.Options{Namespace: "one-slot"}
	load := drivertest.StartLoad(t, false, handleOn(t, client, o), handleOn(t, client, o))
	load.Await(500)
	b := handleOn(t, client, o)
	load.Check(b)
	create(t, b, record("there", "o", "d"), backend.Record{ID: "due", Owner: "o", PurgeAt: time.UnixMilli(1)})
	for _, m := range methods(b) {
		require.NoError(t, m.call(testContext(t)), m.name)
	}
	calls.check(t) // by the rules

	admin := c.Nodes[0].Client()
	slots := make(map[string]int64)
	slotOf := func(key string) int64 {
		if _, known := slots[key]; !known {
			n, err := admin.ClusterKeySlot(testContext(t), key).Result()
			require.NoError(t, err)
			slots[key] = n
		}
		return slots[key]
	}
	scripts := make(map[string]int)
	for _, args := range append(calls.named("evalsha"), calls.named("eval")...) {
		keys := scriptKeys(args)
		for _, key := range keys {
			require.Equal(t, slotOf(keys[0].(string)), slotOf(key.(string)), "%v", keys)
		}
		scripts[args[1].(string)] += len(keys)
	}
	for _, name := range []string{"create", "update", "delete", "touch", "purge"} {
		assert.Positive(t, scripts[redis.Digest(name)], name)
	}
}

// The 64 shards and the keys in them are spread over the masters as evenly as the
// slots are.
func testSpread(t *testing.T, c *testserver.Cluster) {
	const keys = 10_000
	const namespace = "spread"
	ctx := testContext(t)
	shards := make(map[*testserver.Redis]int)
	for _, names := range redis.Names(namespace) {
		slot, err := c.Nodes[0].Client().ClusterKeySlot(ctx, names.IDs).Result()
		require.NoError(t, err)
		shards[c.MasterOf(int(slot))]++
	}
	require.Len(t, shards, 3)
	for master, n := range shards {
		assert.InDelta(t, 64.0/3, n, 1, master.Addr())
	}

	s, err := keystore.New(openURL(t, withParameter(t, c.URL(), "namespace", namespace)), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			for range keys / 20 {
				_, _, err := s.Generate(ctx, keystore.KeyParams{Owner: "owner"})
				assert.NoError(t, err)
			}
		})
	}
	wait.Wait()
	for master, n := range shards {
		records := 0
		for found := master.Client().Scan(ctx, 0, "{"+namespace+":*}:k:*", 1000).Iterator(); found.Next(ctx); records++ {
			require.NoError(t, found.Err())
		}
		assert.InEpsilon(t, keys/3, records, 0.1, master.Addr())
		t.Logf("a master has %d of 64 shards and %d of %d keys", n, records, keys)
	}
}

// slotOfShard is the slot of one of the shards of the default namespace.
func slotOfShard(n int) int { return slot(redis.Names("keystore")[n].IDs) }

// A master is killed, or stands still, while keys are made and changed, and its replica
// takes over. Replication is asynchronous: what was acknowledged may be lost, as Redis
// says. Nothing else may be wrong, and the driver finds the new master by itself.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for name, how := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testserver.StartCluster(t)
			load := drivertest.StartLoad(t, true, openAll(t, c.URL(), 4)...)
			for n := range drivertest.Sized(1, 20) {
				load.Await(200)
				shard := n * 23 % 64
				master := c.MasterOf(slotOfShard(shard))
				idle := openURL(t, c.URL())
				how.begin(master) // from now on calls fail, or go on trying until there is another
				require.NotSame(t, master, c.MasterOf(slotOfShard(shard)))
				load.Await(200)
				// One that nobody has told finds it, too. go-redis alone takes up to a minute.
				require.Eventually(t, func() bool {
					_, err := idle.Get(testContext(t), idIn(shard))
					return errors.Is(err, backend.ErrNotFound)
				}, waitLimit, waitTick)
				how.end(master)
				c.AwaitOK()
			}
			load.Check(openURL(t, c.URL()))
		})
	}
}

// idIn is an id of a shard.
func idIn(shard int) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("id-", i); redis.ShardOf(id) == shard {
			return id
		}
	}
}

// Slots move to another master, with all that is in them, while keys are made and
// changed. While a slot moves, the cluster refuses what needs keys on both sides;
// that is told as an outage, and nothing is lost.
func TestClusterSlotsMoved(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	load := drivertest.StartLoad(t, false, openAll(t, c.URL(), 4)...)
	load.Await(500)
	for round := range drivertest.Sized(2, 50) {
		moveShards(t, c, []int{0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 63}, c.Nodes[round%3], func() { load.AwaitFailures(3) })
		load.Await(100)
	}
	for _, word := range []string{"MOVED", "ASK", "TRYAGAIN"} {
		assert.Positive(t, replied(t, word, c.Nodes...), word)
	}
	tally := load.Check(openURL(t, c.URL()))
	require.Zero(t, tally.Losses())
	require.Positive(t, tally.Refused)
}

// moveShards moves the slots of some shards to a master, those that are not there. It
// calls between while all of them are on their way.
func moveShards(t *testing.T, c *testserver.Cluster, shards []int, to *testserver.Redis, between func()) {
	t.Helper()
	if len(shards) == 0 {
		between()
		return
	}
	rest := func() { moveShards(t, c, shards[1:], to, between) }
	if slot := slotOfShard(shards[0]); c.MasterOf(slot) == to {
		rest()
	} else {
		c.MoveSlot(slot, to, rest)
	}
}

// A master dies that has no replica left. The cluster refuses everything, or, if it
// is told not to insist on all slots, what concerns the dead one: either way that is
// an outage, and no key is unknown and no listing short. All is there again once
// the master is.
func TestClusterDown(t *testing.T) {
	t.Parallel()
	for name, coverage := range map[string]string{"all slots needed": "yes", "the rest serves": "no"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testserver.StartCluster(t, "cluster-require-full-coverage "+coverage)
			handles := openAll(t, c.URL(), 4)
			load := drivertest.StartLoad(t, false, handles...)
			load.Await(300)
			master := c.MasterOf(slotOfShard(0))
			for _, replica := range c.ReplicasOf(master) {
				replica.Stop()
			}
			master.Kill()
			rest := c.Nodes[0]
			if rest == master {
				rest = c.Nodes[1]
			}
			require.Eventually(t, func() bool {
				info, err := rest.Client().ClusterInfo(testContext(t)).Result()
				require.NoError(t, err)
				return strings.Contains(info, "cluster_slots_fail:") && !strings.Contains(info, "cluster_slots_fail:0\r\n")
			}, waitLimit, waitTick)
			load.AwaitFailures(20)
			if coverage == "yes" {
				assert.Positive(t, replied(t, "CLUSTERDOWN", c.Nodes...))
			} else {
				load.Await(20)
			}
			_, err := handles[0].List(testContext(t), backend.ListOptions{Limit: 10})
			noAnswer(t, err)
			master.Start()
			load.Await(100)
			tally := load.Check(openURL(t, c.URL()))
			require.Zero(t, tally.Losses())
		})
	}
}
