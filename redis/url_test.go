package redis_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

func TestOpenByURL(t *testing.T) {
	server := miniredis.RunT(t)
	b, err := backend.Open(testContext(t), "redis://"+server.Addr()+"/0?namespace=other", nil)
	require.NoError(t, err)
	require.NoError(t, b.Create(testContext(t), backend.Record{ID: "id", Owner: "alice", Data: []byte("d")}))
	require.NoError(t, b.Close())
}
