package testserver

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedisKeepsAddressAndData(t *testing.T) {
	r := StartRedis(t, "maxmemory 10mb")
	ctx := t.Context()
	assert.Equal(t, map[string]string{"maxmemory": "10485760"}, r.Client().ConfigGet(ctx, "maxmemory").Val())
	addr := r.Addr()
	for _, end := range []func(){r.Stop, r.Kill} {
		require.NoError(t, r.Client().Incr(ctx, "n").Err())
		end()
		assert.False(t, r.Running())
		require.Error(t, dial(addr), "it is gone")
		r.Start()
	}
	assert.Equal(t, addr, r.Addr())
	requireValue(t, r.Client(), "n", "2")
}

func TestRedisPauses(t *testing.T) {
	r := StartRedis(t)
	r.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, r.Client().Set(ctx, "a", "1", 0).Err())
	r.Resume()
	require.NoError(t, r.Client().Set(t.Context(), "a", "2", 0).Err())

	r.Pause()
	r.Stop() // a paused one too
}

func TestRedisOpensByURL(t *testing.T) {
	r := StartRedis(t)
	o, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	c := redis.NewClient(o)
	defer c.Close()
	require.NoError(t, c.Set(t.Context(), "a", "1", 0).Err())
	assert.Equal(t, "1", r.Client().Get(t.Context(), "a").Val())
}

func TestRedisWithPassword(t *testing.T) {
	r := StartRedis(t, "requirepass secret")
	require.NoError(t, r.Client().Ping(t.Context()).Err())
}

// Two test processes may pick the same port.
func TestPortThatIsTaken(t *testing.T) {
	other := StartRedis(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for name, port := range map[string]int{"a server": other.port, "a listener that never answers": l.Addr().(*net.TCPAddr).Port} {
		t.Run(name, func(t *testing.T) {
			r := newRedis(t, nil, common)
			r.port = port
			require.NoError(t, r.writeConfig())
			r.client = r.newClient()
			defer r.client.Close()
			require.ErrorIs(t, r.launch(), errTaken)
			assert.Nil(t, r.process)
		})
	}
	require.NoError(t, other.Client().Ping(t.Context()).Err())
}

func TestConfigurationThatIsWrong(t *testing.T) {
	r := newRedis(t, nil, []string{"no such line"})
	var err error
	r.port, err = freePort()
	require.NoError(t, err)
	require.NoError(t, r.writeConfig())
	r.client = r.newClient()
	defer r.client.Close()
	err = r.launch()
	require.Error(t, err)
	assert.False(t, errors.Is(err, errTaken))
	assert.Contains(t, tail(r.log), "no such line")
}

func TestRedisURLIsOneServer(t *testing.T) {
	t.Setenv("KEYSTORE_TEST_REDIS_URL", "")
	url := RedisURL(t)
	t.Run("another test", func(t *testing.T) { assert.Equal(t, url, RedisURL(t)) })
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	c := redis.NewClient(o)
	defer c.Close()
	require.NoError(t, c.Ping(t.Context()).Err())

	t.Setenv("KEYSTORE_TEST_REDIS_URL", "redis://cache.example/3")
	assert.Equal(t, "redis://cache.example/3", RedisURL(t))
}

func TestReplica(t *testing.T) {
	master := StartRedis(t)
	require.NoError(t, master.Client().Set(t.Context(), "a", "1", 0).Err())
	replica := StartReplica(t, master, "maxmemory 10mb")
	assert.Equal(t, "1", replica.Client().Get(t.Context(), "a").Val())
	require.ErrorContains(t, replica.Client().Set(t.Context(), "a", "2", 0).Err(), "READONLY")
	assert.Equal(t, "10485760", replica.Client().ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"])
}

func TestRedisTLS(t *testing.T) {
	r, files := StartRedisTLS(t)
	require.NoError(t, r.Client().Ping(t.Context()).Err())
	assert.Contains(t, r.URL(), "rediss://127.0.0.1:")
	assert.FileExists(t, files.CAFile)

	without := files.Config.Clone()
	without.Certificates = nil
	c := redis.NewClient(&redis.Options{Addr: r.Addr(), TLSConfig: without, MaxRetries: -1, DialerRetries: 1})
	defer c.Close()
	require.Error(t, c.Ping(t.Context()).Err(), "it asks for a certificate")

	r, files = StartRedisTLS(t, "tls-auth-clients no")
	without.RootCAs = files.Config.RootCAs
	c2 := redis.NewClient(&redis.Options{Addr: r.Addr(), TLSConfig: without, MaxRetries: -1})
	defer c2.Close()
	require.NoError(t, c2.Ping(t.Context()).Err())
}

func TestTLSOfClusterAndSentinel(t *testing.T) {
	c, files := StartClusterTLS(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), TLSConfig: files.Config})
	defer client.Close()
	require.NoError(t, client.Set(t.Context(), "a", "1", 0).Err())
	c.MoveSlot(15495, c.MasterOf(0), nil)
	require.NoError(t, client.Get(t.Context(), "a").Err())
	assert.Contains(t, c.URL(), "rediss+cluster://127.0.0.1:")

	s, files := StartSentinelTLS(t)
	assert.Contains(t, s.URL(), "rediss+sentinel://127.0.0.1:")
	failover := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: SentinelMaster, SentinelAddrs: s.Addrs(), TLSConfig: files.Config,
	})
	defer failover.Close()
	require.NoError(t, failover.Set(t.Context(), "a", "1", 0).Err())
	s.Master.Kill()
	assert.Same(t, s.Replica, s.AwaitFailover(s.Master))
}
