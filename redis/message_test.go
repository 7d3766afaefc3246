package redis

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMessages(t *testing.T) {
	first, second := "id"+messageEnd(), "id"+messageEnd()
	require.NotEqual(t, first, second, "two changes of one record are two messages")
	for _, m := range []string{first, second, "id", "id anything else"} {
		id, ok := parseMessage(m)
		require.True(t, ok)
		require.Equal(t, "id", id)
	}
}

func TestRecent(t *testing.T) {
	var r recent
	require.True(t, r.first("a"))
	require.False(t, r.first("a"))
	require.True(t, r.first("b"))
	for i := range len(r.ring) - 2 {
		require.True(t, r.first(strconv.Itoa(i)))
	}
	require.False(t, r.first("a"), "as many are remembered")
	require.True(t, r.first("one more"))
	require.True(t, r.first("a"), "and not more")
	require.LessOrEqual(t, len(r.seen), len(r.ring))
}
