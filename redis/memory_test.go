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
	ctx := t.Context() // it takes as long as it takes
	record := func(i, keysPerOwner int) backend.Record {
		return backend.Record{
			ID: fmt.Sprintf("0GzUvJ2M%08d", i), Owner: fmt.Sprintf("customer-%d", i/keysPerOwner),
			Data: make([]byte, 260), PurgeAt: time.UnixMilli(1_893_456_000_000 + int64(i)), Revision: 1,
		}
	}
	used := func() int { return usedMemory(t, admin) }
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

func usedMemory(t *testing.T, admin *goredis.Client) int {
	t.Helper()
	info, err := admin.Info(testContext(t), "memory").Result()
	require.NoError(t, err)
	_, after, found := strings.Cut(info, "used_memory:")
	require.True(t, found)
	n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "\r", 2)[0]))
	require.NoError(t, err)
	return n
}

// TestMemoryOfCountsAndTallies measures what the counts of a key take, with two limits,
// and what a tally takes, after the first spend or addition and when as many are
// remembered as ever are.
func TestMemoryOfCountsAndTallies(t *testing.T) {
	t.Parallel()
	const keys = 25_000
	server := testserver.StartRedis(t, "appendonly no")
	admin := server.Client()
	ctx := t.Context() // it takes as long as it takes
	b := openURL(t, server.URL())
	first := spendOf("first", 1, 1)
	spend(t, b, first)
	for i := range uint64(70) {
		s := backend.Spend{ID: "full", SpendID: i, Cost: 1000, Windows: twoLimits(noon.Add(time.Duration(i) * 24 * time.Hour))}
		spend(t, b, s)
		addUsage(t, b, addition("first", 1, 1))
		a := addition("full", i, 10_000)
		a.Counts = map[string]int64{fmt.Sprintf("%02da", i%24): 10_000}
		addUsage(t, b, a)
	}
	names := redis.Names("keystore")
	value := func(key string) string { return admin.Get(ctx, key).Val() }
	for _, c := range []struct {
		what, value, key, times string
		goal                    int
	}{
		{"counts after one spend", value(countsKey("first")), "%[1]s", "ends", 340},
		{"counts, all remembered", value(countsKey("full")), "%[1]s", "ends", 1100},
		{"tallies after one addition", value(namesOf("first").Tallies + "20487:first"), "20487:k%[1]s", "tallyAt", 340},
		{"tallies, all remembered", value(namesOf("full").Tallies + "20487:full"), "20487:k%[1]s", "tallyAt", 900},
	} {
		require.NotEmpty(t, c.value)
		require.NoError(t, admin.FlushAll(ctx).Err())
		begin := usedMemory(t, admin)
		for i := 0; i < keys; i += 1000 {
			_, err := admin.Pipelined(ctx, func(p goredis.Pipeliner) error {
				for j := i; j < i+1000; j++ {
					id := fmt.Sprintf("0GzUvJ2M%08d", j)
					n := names[redis.ShardOf(id)]
					member, prefix, times := fmt.Sprintf(c.key, id), n.Counts, n.Ends
					if c.times == "tallyAt" {
						prefix, times = n.Tallies, n.TallyAt
					}
					p.Set(ctx, prefix+member, c.value, 0)
					p.ZAdd(ctx, times, goredis.Z{Score: 1_770_000_000 + float64(j), Member: member})
				}
				return nil
			})
			require.NoError(t, err)
		}
		each := (usedMemory(t, admin) - begin + keys/2) / keys
		t.Logf("%s: %d B each, of which %d are the value", c.what, each, len(c.value))
		require.LessOrEqual(t, each, c.goal, c.what)
	}
}
