package testserver

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSentinel(t *testing.T) {
	s := StartSentinel(t)
	ctx := t.Context()
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: SentinelMaster, SentinelAddrs: s.Addrs()})
	defer client.Close()
	require.NoError(t, client.Set(ctx, "a", "1", 0).Err())
	await(t, "the replica has it", func() error { return s.Replica.Client().Get(ctx, "a").Err() })
	assert.Same(t, s.Master, s.Current())

	s.Master.Kill()
	assert.Same(t, s.Replica, s.AwaitFailover(s.Master))
	await(t, "the client finds the new master", func() error { return client.Get(ctx, "a").Err() })

	s.Master.Start()
	s.Master.AwaitSync()
	require.ErrorContains(t, s.Master.Client().Set(ctx, "a", "2", 0).Err(), "READONLY")
	s.AwaitReady() // for the way back
	s.Replica.Kill()
	assert.Same(t, s.Master, s.AwaitFailover(s.Replica))
}

func requireValue(t *testing.T, c redis.Cmdable, key, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), key).Result()
	require.NoError(t, err)
	require.Equal(t, want, got)
}
