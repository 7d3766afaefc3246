package limits_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-redis/redis_rate/v10"

	"example.com/keystore/benchmarks/internal/stores"
	"example.com/keystore/benchmarks/internal/turns"
	"example.com/keystore/internal/testserver"
)

// BenchmarkRedisRate compares a lookup of a key with limits with go-redis/redis_rate
// on the same server and by the same client: one call of Allow for each limit.
//
// It is a limiter alone: who asks it has looked the key up before. It knows no windows
// but a rate with a burst (GCRA), and one limit at a time: a request that the second
// refuses has consumed of the first. A repeat after a lost reply counts twice.
func BenchmarkRedisRate(b *testing.B) {
	for n := range len(limits) {
		n++
		b.Run(fmt.Sprintf("limits=%d", n), func(b *testing.B) {
			client := stores.RedisClient(testserver.StartRedis(b, "appendonly no").Addr())
			s := stores.OnRedis(b, client, 0)
			ids, lookup := limited(b, s, keys, n)
			limiter := redis_rate.NewLimiter(client)
			allow := func(i int) error {
				ctx, cancel := context.WithTimeout(context.Background(), stores.Deadline)
				defer cancel()
				for _, l := range limits[:n] {
					rate := redis_rate.Limit{Rate: most, Burst: most, Period: l.Window}
					r, err := limiter.Allow(ctx, l.Name+":"+ids[i%len(ids)], rate)
					if err == nil && r.Allowed != 1 {
						err = errors.New("the limiter refused")
					}
					if err != nil {
						return err
					}
				}
				return nil
			}
			run(b, s, allow, lookup, func(b *testing.B, r turns.Result, _ int) { b.ReportMetric(1/r.Ratio, "speedup") })
		})
	}
}
