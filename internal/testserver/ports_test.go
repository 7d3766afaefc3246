package testserver

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPortsAreGivenOnce(t *testing.T) {
	seen := make(map[int]bool)
	for range 2 * blockSize { // more than one block
		port, err := freePort()
		require.NoError(t, err)
		require.False(t, seen[port])
		seen[port] = true
		require.Less(t, port+busOffset, 32_768)
	}
	assert.GreaterOrEqual(t, len(ports.blocks), 2)
}

func TestPortsThatAreTaken(t *testing.T) {
	port, err := freePort()
	require.NoError(t, err)
	for _, taken := range []int{port + 1, port + 2 + busOffset} {
		l, err := net.Listen("tcp", address(taken))
		require.NoError(t, err)
		defer l.Close()
	}
	next, err := freePort()
	require.NoError(t, err)
	assert.NotContains(t, []int{port + 1, port + 2}, next)
}
