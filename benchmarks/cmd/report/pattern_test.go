package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExpand(t *testing.T) {
	rows, err := expand("A/b={x,y}/c={1,2}  \n B?")
	require.NoError(t, err)
	assert.Equal(t, []row{
		{"A/b=x/c=1", false}, {"A/b=x/c=2", false}, {"A/b=y/c=1", false}, {"A/b=y/c=2", false}, {"B", true},
	}, rows)
	for _, pattern := range []string{"", "A/{x", "A/x}", "A/{x{y}}", "A/}{", "A A", "A/{x,x}"} {
		_, err := expand(pattern)
		assert.Error(t, err, pattern)
	}
}

func TestPart(t *testing.T) {
	for key, want := range map[string]string{"name": "Lookup", "backend": "redis", "keys": "10000"} {
		value, ok := part("Lookup/backend=redis/keys=10000-2", key)
		assert.True(t, ok, key)
		assert.Equal(t, want, value, key)
	}
	_, ok := part("Lookup/backend=redis", "back")
	assert.False(t, ok)
	assert.Equal(t, "10^4", label("keys", "10000"))
	assert.Equal(t, "20000", label("keys", "20000"))
	assert.Equal(t, "128", label("callers", "128"))
}
