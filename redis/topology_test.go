package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// openAll opens n handles on the store of a URL. Every second one gathers all Gets
// and Spends.
func openAll(t testing.TB, rawURL string, n int) []backend.Backend {
	t.Helper()
	handles := make([]backend.Backend, n)
	for i := range handles {
		b := openURL(t, rawURL)
		if i%2 == 1 {
			redis.GatherAll(b)
		}
		handles[i] = b
	}
	return handles
}

// replied is how many times servers have replied an error that begins with a word.
func replied(t testing.TB, word string, servers ...*testserver.Redis) int {
	t.Helper()
	sum := 0
	for _, server := range servers {
		if !server.Running() {
			continue
		}
		stats, err := server.Client().Info(testContext(t), "errorstats").Result()
		require.NoError(t, err)
		for line := range strings.Lines(stats) {
			if count, found := strings.CutPrefix(line, "errorstat_"+word+":count="); found {
				n := 0
				_, err := fmt.Sscan(count, &n)
				require.NoError(t, err)
				sum += n
			}
		}
	}
	return sum
}

// awaitReplica returns when the one replica of a master has everything.
func awaitReplica(t testing.TB, master *testserver.Redis) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := master.Client().Info(testContext(t), "replication").Result()
		require.NoError(t, err)
		var offset int64
		for line := range strings.Lines(info) {
			if text, found := strings.CutPrefix(line, "master_repl_offset:"); found {
				_, err := fmt.Sscan(text, &offset)
				require.NoError(t, err)
			}
		}
		return strings.Contains(info, fmt.Sprintf("state=online,offset=%d,", offset))
	}, waitLimit, waitTick)
}

// failures are how a server fails, and comes back.
var failures = map[string]struct{ begin, end func(*testserver.Redis) }{
	"killed":         {(*testserver.Redis).Kill, (*testserver.Redis).Start},
	"standing still": {(*testserver.Redis).Pause, (*testserver.Redis).Resume},
}
