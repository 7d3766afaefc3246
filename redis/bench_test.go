package redis_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// versus times two operations in turns of a few hundred, so that both meet the
// same machine, and reports the median cost of each and of their ratio.
func versus(b *testing.B, raw, ours func(i int)) {
	const turn = 256
	var rawTime, ourTime time.Duration
	ops := 0
	for b.Loop() {
		start := time.Now()
		for i := range turn {
			raw(ops + i)
		}
		middle := time.Now()
		for i := range turn {
			ours(ops + i)
		}
		rawTime += middle.Sub(start)
		ourTime += time.Since(middle)
		ops += turn
	}
	b.ReportMetric(float64(rawTime.Nanoseconds())/float64(ops), "raw-ns/op")
	b.ReportMetric(float64(ourTime.Nanoseconds())/float64(ops), "ours-ns/op")
	b.ReportMetric(float64(ourTime)/float64(rawTime), "ratio")
	b.ReportMetric(0, "ns/op") // of a turn of both: not shown
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

// BenchmarkVersusRawGet compares reading with GET of the same bytes through the
// same client.
func BenchmarkVersusRawGet(b *testing.B) {
	const keys = 10_000
	back, _ := openServer(b)
	client := redis.Client(back)
	ks, err := keystore.New(back, &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, ks.Close()) })
	tokens, ids, names := make([]string, keys), make([]string, keys), make([]string, keys)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < keys; i += 16 {
				token, key, err := ks.Generate(context.Background(), keystore.KeyParams{
					Owner: fmt.Sprintf("customer-%d", i%1000), Name: "a key of some program",
					Scopes: []string{"orders:*", "invoices:read"}, TTL: 90 * 24 * time.Hour,
				})
				if err != nil {
					b.Error(err)
					return
				}
				tokens[i], ids[i], names[i] = token.Reveal(), key.ID, redis.RecordKey(back, key.ID)
			}
		})
	}
	wg.Wait()
	ctx := context.Background()
	bare := func(ctx context.Context, i int) {
		if err := client.Get(ctx, names[i%keys]).Err(); err != nil {
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
		if _, err := back.Get(ctx, ids[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
	getTimed := func(i int) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := back.Get(ctx, ids[i%keys]); err != nil {
			b.Fatal(err)
		}
	}
	lookup := func(i int) {
		if _, err := ks.Lookup(ctx, tokens[i%keys], "orders:read"); err != nil {
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
