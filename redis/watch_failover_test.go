package redis_test

import (
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// After a failover of a cluster changes may be undone, and their messages may have
// gone to nobody: watchers are told, wherever their subscription is, and hear of what
// other programs change from then on.
func TestWatchClusterFailover(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	// A subscription is on any of the nodes: with so many, one is on the node that
	// dies, and others are not.
	var watchers []<-chan string
	for range 12 {
		watchers = append(watchers, watch(t, handleOn(t, client, &redis.Options{ProbeInterval: quick})))
	}
	other := openURL(t, c.URL())
	for _, changes := range watchers {
		hearsAgain(t, changes, other)
	}
	master := c.MasterOf(slotOfShard(0))
	master.Kill()
	id := idIn(0)
	require.Eventually(t, func() bool { return other.Create(testContext(t), record(id, "o", "d")) == nil }, waitLimit, waitTick)
	for _, changes := range watchers {
		receive(t, changes, "")
		hearsAgain(t, changes, other)
	}
	// The one that comes back is a replica now; nothing is amiss.
	master.Start()
	c.AwaitOK()
	for _, changes := range watchers {
		hearsAgain(t, changes, other)
	}
}

// While a slot moves its keys can be looked up. A change needs several keys of the
// slot, of which some are here and some are there or not yet anywhere: the cluster
// refuses it until the slot has moved, and that is certain. Watchers hear on.
func TestClusterSlotOnItsWay(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	b := openURL(t, c.URL())
	changes := watch(t, b)
	id := idIn(0)
	other := openURL(t, c.URL())
	create(t, other, record(id, "o", "1"))
	receive(t, changes, id)
	moveShards(t, c, []int{0}, c.MasterOf(slotOfShard(63)), func() {
		err := other.Update(testContext(t), backend.Record{ID: id, Revision: 1, Data: []byte("2")})
		require.ErrorContains(t, err, "TRYAGAIN")
		require.ErrorIs(t, err, backend.ErrNotApplied)
		require.Equal(t, "1", string(get(t, other, id).Data))
		require.Len(t, listAll(t, other, "", 10), 1)
		create(t, other, record(idIn(1), "o", "d"))
		receive(t, changes, idIn(1))
	})
	require.NoError(t, other.Update(testContext(t), backend.Record{ID: id, Revision: 1, Data: []byte("2")}))
	receive(t, changes, id)
}

func TestWatchSentinelFailover(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t)
	client := goredis.NewFailoverClient(&goredis.FailoverOptions{
		MasterName: testserver.SentinelMaster, SentinelAddrs: s.Addrs(), ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	changes := watch(t, handleOn(t, client, &redis.Options{ProbeInterval: quick}))
	other := openURL(t, s.URL())
	hearsAgain(t, changes, other)
	s.Master.Kill()
	require.Eventually(t, func() bool { return other.Create(testContext(t), record("amid", "o", "d")) == nil }, waitLimit, waitTick)
	receive(t, changes, "")
	hearsAgain(t, changes, other)

	// A master that is only paused is deposed too, and comes back as if nothing had
	// happened, until it is told.
	s.Master.Start()
	s.Master.AwaitSync()
	s.AwaitReady()
	s.Replica.Pause()
	require.Same(t, s.Master, s.AwaitFailover(s.Replica))
	s.Replica.Resume()
	require.Eventually(t, func() bool { return other.Create(testContext(t), record("amid-2", "o", "d")) == nil }, waitLimit, waitTick)
	receive(t, changes, "")
	hearsAgain(t, changes, other)
}
