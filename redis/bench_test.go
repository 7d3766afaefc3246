package redis_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// versus times two operations in turns of a hundred, so that both meet the same
// machine, and reports the median turn of each and the median of their ratios.
func versus(b *testing.B, raw, ours func(i int)) {
	const turn = 100
	var rawTimes, ourTimes, ratios []float64
	ops := 0
	timed := func(op func(i int)) float64 {
		start := time.Now()
		for i := range turn {
			op(ops + i)
		}
		return float64(time.Since(start).Nanoseconds()) / turn
	}
	for b.Loop() {
		rawTime, ourTime := 0.0, 0.0
		if len(ratios)%2 == 0 {
			rawTime, ourTime = timed(raw), timed(ours)
		} else {
			ourTime, rawTime = timed(ours), timed(raw)
		}
		rawTimes, ourTimes, ratios = append(rawTimes, rawTime), append(ourTimes, ourTime), append(ratios, ourTime/rawTime)
		ops += turn
	}
	b.ReportMetric(median(rawTimes), "raw-ns/op")
	b.ReportMetric(median(ourTimes), "ours-ns/op")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op") // of a turn of both: not shown
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// openServer opens a store by URL, with the driver's own settings of the client,
// and returns the client under it for the bare operations.
func openServer(b *testing.B) (*redis.Backend, *testserver.Redis) {
	b.Helper()
	server := testserver.StartRedis(b, "appendonly no")
	back, err := backend.Open(context.Background(), server.URL(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, back.Close()) })
	return back.(*redis.Backend), server
}

// benchKeys are keys that were generated through a handle.
type benchKeys struct {
	store              *keystore.Keystore // reads each key from the server
	tokens, ids, names []string
}

func generateKeys(b *testing.B, back *redis.Backend, n int) *benchKeys {
	b.Helper()
	ks, err := keystore.New(back, &keystore.Options{CacheSize: -1, TouchInterval: keystore.Never, PurgeInterval: keystore.Never, UsageInterval: keystore.Never})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, ks.Close()) })
	k := &benchKeys{ks, make([]string, n), make([]string, n), make([]string, n)}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				token, key, err := ks.Generate(context.Background(), keystore.KeyParams{
					Owner: fmt.Sprintf("customer-%d", i%1000), Name: "a key of some program",
					Scopes: []string{"orders:*", "invoices:read"}, TTL: 90 * 24 * time.Hour,
				})
				if err != nil {
					b.Error(err)
					return
				}
				k.tokens[i], k.ids[i], k.names[i] = token.Reveal(), key.ID, redis.RecordKey(back, key.ID)
			}
		})
	}
	wg.Wait()
	return k
}

// BenchmarkVersusRawGet compares reading with GET of the same bytes through the
// same client.
func BenchmarkVersusRawGet(b *testing.B) {
	const keys = 10_000
	back, _ := openServer(b)
	client := redis.Client(back)
	k := generateKeys(b, back, keys)
	ctx := context.Background()
	bare := func(ctx context.Context, i int) {
		if err := client.Get(ctx, k.names[i%keys]).Err(); err != nil {
			b.Fatal(err)
		}
	}
	raw := func(i int) { bare(ctx, i) }
	rawTimed := func(i int) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		bare(ctx, i)
	}
	get := func(i int) {
		if _, err := back.Get(ctx, k.ids[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
	getTimed := func(i int) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := back.Get(ctx, k.ids[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
	lookup := func(i int) {
		if _, err := k.store.Lookup(ctx, k.tokens[i%keys], "orders:read"); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("control", func(b *testing.B) { versus(b, raw, raw) })
	b.Run("deadline", func(b *testing.B) { versus(b, raw, rawTimed) })
	b.Run("Get/no-deadline", func(b *testing.B) { versus(b, raw, get) })
	b.Run("Get/deadline", func(b *testing.B) { versus(b, rawTimed, getTimed) })
	b.Run("Lookup/raw-with-deadline", func(b *testing.B) { versus(b, rawTimed, lookup) })
	b.Run("Lookup/raw-without", func(b *testing.B) { versus(b, raw, lookup) })
}

// BenchmarkCreateVersusBareScript compares Create with one call of a script that
// only sets the value.
func BenchmarkCreateVersusBareScript(b *testing.B) {
	back, _ := openServer(b)
	client := redis.Client(back)
	ctx := context.Background()
	const source = "redis.call('SET', KEYS[1], ARGV[1]) return 'ok'"
	sha1, err := client.ScriptLoad(ctx, source).Result()
	require.NoError(b, err)
	value := make([]byte, 300)
	n := 0
	create := func(ctx context.Context) {
		n++
		err := back.Create(ctx, backend.Record{
			ID: fmt.Sprintf("key%013d", n), Owner: fmt.Sprintf("customer-%d", n%1000), Data: value[:260], PurgeAt: time.Now(),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	bare := func(ctx context.Context) {
		n++
		if err := client.EvalSha(ctx, sha1, []string{fmt.Sprintf("{keystore:1}:k:key%013d", n)}, value).Err(); err != nil {
			b.Fatal(err)
		}
	}
	timed := func(op func(context.Context)) func(int) {
		return func(int) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			op(ctx)
		}
	}
	b.Run("no-deadline", func(b *testing.B) {
		versus(b, func(int) { bare(ctx) }, func(int) { create(ctx) })
	})
	b.Run("deadline", func(b *testing.B) { versus(b, timed(bare), timed(create)) })
}
