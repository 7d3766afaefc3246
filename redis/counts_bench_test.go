package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

// twoLimits are the windows of "day 10000/24h" and "burst 100/1s" at a time.
func twoLimits(at time.Time) []backend.Window {
	return []backend.Window{
		{Name: "burst", Length: time.Second, Start: at.Truncate(time.Second), Max: backend.MaxCount},
		{Name: "day", Length: 24 * time.Hour, Start: at.Truncate(24 * time.Hour), Max: backend.MaxCount},
	}
}

// BenchmarkSpendVersusBareScript compares a spend on two limits with one call of a
// script that does nothing, and of one that reads and writes a string of the same
// length.
func BenchmarkSpendVersusBareScript(b *testing.B) {
	const keys = 1000
	back, _ := openServer(b)
	client := redis.Client(back)
	ctx := context.Background()
	ids, names := make([]string, keys), make([]string, keys)
	for i := range keys {
		ids[i] = fmt.Sprintf("0GzUvJ2M%08d", i)
		names[i] = redis.RecordKey(back, ids[i])
	}
	value := make([]byte, 700)
	load := func(source string) func(context.Context, int) {
		sha1, err := client.ScriptLoad(ctx, source).Result()
		require.NoError(b, err)
		return func(ctx context.Context, i int) {
			if err := client.EvalSha(ctx, sha1, []string{names[i%keys]}, value).Err(); err != nil {
				b.Error(err)
			}
		}
	}
	nothing := load("return 1")
	getAndSet := load("local old = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], ARGV[1]) return 1")
	now := time.Now()
	spend := func(at func() time.Time, key func(int) int, max int64) func(context.Context, int) {
		return func(ctx context.Context, i int) {
			windows := twoLimits(at())
			windows[0].Max = max
			spent, err := back.Spend(ctx, backend.Spend{ID: ids[key(i)], SpendID: rand.Uint64(), Cost: 1, Windows: windows})
			if err != nil || !spent.OK && max > 1 {
				b.Error(spent, err)
			}
		}
	}
	each := func(i int) int { return i % keys }
	one := func(int) int { return 0 }
	same := func() time.Time { return now }
	random := func() time.Time { return now.Add(time.Duration(rand.IntN(10_000)) * time.Second) }
	timed := func(op func(context.Context, int)) func(int) {
		return func(i int) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			op(ctx, i)
		}
	}
	for range 100 { // so that all rings and lists are full
		for i := range keys {
			spend(random, each, backend.MaxCount)(ctx, i)
		}
	}
	for name, op := range map[string]func(context.Context, int){
		"same window":    spend(same, each, backend.MaxCount),
		"one key":        spend(same, one, backend.MaxCount),
		"another window": spend(random, each, backend.MaxCount),
		"denied":         spend(same, each, 1),
		"get and set":    getAndSet,
	} {
		b.Run(name, func(b *testing.B) { versus(b, timed(nothing), timed(op)) })
		b.Run(name+"/64 callers", func(b *testing.B) { versus(b, many(timed(nothing)), many(timed(op))) })
	}
}

// many has 64 callers do an operation at once.
func many(op func(int)) func(int) {
	return func(n int) {
		var wg sync.WaitGroup
		for w := range 64 {
			wg.Go(func() { op(n*64 + w) })
		}
		wg.Wait()
	}
}
