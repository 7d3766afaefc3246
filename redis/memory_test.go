package redis_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// TestMemory measures what a record takes beyond the same bytes set under the same
// name: at most 420 bytes with all indexes.
func TestMemory(t *testing.T) {
	t.Parallel()
	keys := 25_000 // the tables of the server are as full as with 100 000
	if os.Getenv("KEYSTORE_TEST_LONG") != "" {
		keys = 100_000
	}
	const goal = 420
	server := testserver.StartRedis(t, "appendonly no")
	admin := server.Client()
	ctx := testContext(t)
	record := func(i, keysPerOwner int) backend.Record {
		return backend.Record{
			ID: fmt.Sprintf("0GzUvJ2M%08d", i), Owner: fmt.Sprintf("customer-%d", i/keysPerOwner),
			Data: make([]byte, 260), PurgeAt: time.UnixMilli(1_893_456_000_000 + int64(i)), Revision: 1,
		}
	}
	used := func() int {
		info, err := admin.Info(ctx, "memory").Result()
		require.NoError(t, err)
		_, after, found := strings.Cut(info, "used_memory:")
		require.True(t, found)
		n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "\r", 2)[0]))
		require.NoError(t, err)
		return n
	}
	perKey := func(bytes int) int { return (bytes + keys/2) / keys }
	empty := func() int {
		require.NoError(t, admin.FlushAll(ctx).Err())
		return used()
	}
	empty()

	begin := empty()
	for i := 0; i < keys; i += 1000 {
		_, err := admin.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for j := i; j < i+1000; j++ {
				p.Set(ctx, keyOf(record(j, 1).ID), envelopeOf(record(j, 1)), 0)
			}
			return nil
		})
		require.NoError(t, err)
	}
	bare := perKey(used() - begin)

	for _, keysPerOwner := range []int{1, 1000} {
		begin := empty()
		b := handleOn(t, clientOf(t, &goredis.Options{Addr: server.Addr(), PoolSize: 8}), nil)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < keys; i += 8 {
					if err := b.Create(ctx, record(i, keysPerOwner)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		all := perKey(used() - begin)
		drop := func(name func(redis.ShardNames) string) int {
			before := used()
			for _, s := range redis.Names("keystore") {
				require.NoError(t, admin.Del(ctx, name(s)).Err())
			}
			return perKey(before - used())
		}
		purge := drop(func(s redis.ShardNames) string { return s.Purge })
		owners := drop(func(s redis.ShardNames) string { return s.Owners })
		ids := drop(func(s redis.ShardNames) string { return s.IDs })
		t.Logf("%d keys, %d per owner: bare %d B per key; all %d B, %+d: ids %d, owners %d, purge times %d, rest %d",
			keys, keysPerOwner, bare, all, all-bare, ids, owners, purge, all-bare-ids-owners-purge)
		require.LessOrEqual(t, all-bare, goal)
	}
}
