package testserver

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCluster(t *testing.T) {
	c := StartCluster(t)
	ctx := t.Context()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	defer client.Close()
	const key, slot = "{a}1", 15495
	require.NoError(t, client.MSet(ctx, key, "1", "{a}2", "2").Err())
	require.Len(t, strings.Split(c.URL(), ","), 3)

	from, to := c.MasterOf(slot), c.MasterOf(0)
	require.NotSame(t, from, to)
	c.MoveSlot(slot, to, func() {
		require.ErrorContains(t, from.Client().Set(ctx, "{a}new", "3", 0).Err(), "ASK 15495 "+to.Addr())
		require.NoError(t, from.Client().Get(ctx, key).Err(), "what is still there is served")
		pipe := to.Client().Pipeline()
		pipe.Do(ctx, "ASKING")
		both := pipe.MGet(ctx, key, "{a}2")
		_, _ = pipe.Exec(ctx)
		require.ErrorContains(t, both.Err(), "TRYAGAIN")
	})
	require.ErrorContains(t, from.Client().Get(ctx, key).Err(), "MOVED 15495 "+to.Addr())
	assert.Same(t, to, c.MasterOf(slot))
	assert.Equal(t, "1", to.Client().Get(ctx, key).Val())

	replicas := c.ReplicasOf(to)
	require.Len(t, replicas, 1)
	to.Kill()
	assert.Same(t, replicas[0], c.MasterOf(slot))
	c.AwaitOK()
	await(t, "the client finds the new master", func() error { return client.Get(ctx, "{a}2").Err() })
	to.Start()
	c.AwaitOK()
	assert.Equal(t, []*Redis{to}, c.ReplicasOf(replicas[0]), "the old master follows the new one")
}
