package testserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
)

func TestRedisKeepsDataOverAKill(t *testing.T) {
	r := testserver.StartRedis(t)
	require.NoError(t, r.Client().Set(t.Context(), "a", "1", 0).Err())
	r.Kill()
	require.Error(t, r.Client().Get(t.Context(), "a").Err())
	r.Start()
	require.Equal(t, "1", r.Client().Get(t.Context(), "a").Val())
}

func TestCluster(t *testing.T) {
	c := testserver.StartCluster(t)
	_ = c
}

func TestSentinel(t *testing.T) {
	s := testserver.StartSentinel(t)
	s.Current().Kill()
	require.Equal(t, s.Replica, s.AwaitFailover(s.Master))
}
