package redis_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// versusMany is versus for many callers at once. It reports how many times the
// throughput of raw ours has.
func versusMany(b *testing.B, callers int, raw, ours func(i int)) {
	turn := max(500, 40*callers)
	var rawTimes, ourTimes, gains []float64
	ops := 0
	timed := func(op func(i int)) float64 {
		var next atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range callers {
			wg.Go(func() {
				for i := int(next.Add(1)); i <= turn; i = int(next.Add(1)) {
					op(ops + i)
				}
			})
		}
		wg.Wait()
		return float64(time.Since(start).Nanoseconds()) / float64(turn)
	}
	for b.Loop() {
		rawTime, ourTime := 0.0, 0.0
		if len(gains)%2 == 0 {
			rawTime, ourTime = timed(raw), timed(ours)
		} else {
			ourTime, rawTime = timed(ours), timed(raw)
		}
		rawTimes, ourTimes, gains = append(rawTimes, rawTime), append(ourTimes, ourTime), append(gains, rawTime/ourTime)
		ops += turn
	}
	b.ReportMetric(median(rawTimes), "raw-ns/op")
	b.ReportMetric(median(ourTimes), "ours-ns/op")
	b.ReportMetric(median(gains), "x-throughput")
	b.ReportMetric(0, "ns/op") // of a turn of both: not shown
}

// BenchmarkManyVersusRawGet compares reading by some callers at once with plain GETs
// of the same bytes, by as many callers through the same client, with deadlines as
// a Keystore gives them.
func BenchmarkManyVersusRawGet(b *testing.B) {
	const keys = 10_000
	b.Run("one server", func(b *testing.B) {
		benchMany(b, testserver.StartRedis(b, "appendonly no").URL(), keys)
	})
	b.Run("cluster", func(b *testing.B) {
		benchMany(b, testserver.StartCluster(b, "appendonly no").URL(), keys)
	})
}

func benchMany(b *testing.B, url string, keys int) {
	opened, err := backend.Open(context.Background(), url, nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, opened.Close()) })
	back := opened.(*redis.Backend)
	client := redis.Client(back)
	k := generateKeys(b, back, keys)
	raw := func(i int) {
		ctx := newLazyTimeout(2 * time.Second)
		defer ctx.end()
		if err := client.Get(ctx, k.names[i%keys]).Err(); err != nil {
			b.Error(err)
		}
	}
	get := func(i int) {
		ctx := newLazyTimeout(2 * time.Second)
		defer ctx.end()
		if _, err := back.Get(ctx, k.ids[i%keys]); err != nil {
			b.Error(err)
		}
	}
	lookup := func(i int) {
		if _, err := k.store.Lookup(context.Background(), k.tokens[i%keys], "orders:read"); err != nil {
			b.Error(err)
		}
	}
	for _, callers := range []int{1, 4, 5, 8, 12, 13, 16, 128} {
		b.Run(fmt.Sprintf("%d/control", callers), func(b *testing.B) { versusMany(b, callers, raw, raw) })
		b.Run(fmt.Sprintf("%d/Get", callers), func(b *testing.B) { versusMany(b, callers, raw, get) })
		b.Run(fmt.Sprintf("%d/Lookup", callers), func(b *testing.B) { versusMany(b, callers, raw, lookup) })
	}
}

// lazyTimeout is a context with a deadline that starts its timer on demand, like the
// one that a Keystore gives its backend.
type lazyTimeout struct {
	context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
}

func newLazyTimeout(d time.Duration) *lazyTimeout {
	return &lazyTimeout{Context: context.Background(), deadline: time.Now().Add(d)}
}

func (c *lazyTimeout) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *lazyTimeout) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	return c.timed.Done()
}

func (c *lazyTimeout) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}
