package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

// server time per call of scripts: files in $SCRIPTS (same arguments as spend)

func BenchmarkZZ(b *testing.B) {
	back, server := openServer(b)
	client := redis.Client(back)
	admin := server.Client()
	ctx := context.Background()
	now := time.Now()
	stat := func(name string, n int, op func(i int)) {
		best, bestD := 1e9, 1e9
		for range 12 {
			for i := range 100 {
				op(i)
			}
			admin.ConfigResetStat(ctx)
			start := time.Now()
			for i := range n {
				op(i + 1000)
			}
			bestD = min(bestD, float64(time.Since(start).Nanoseconds())/float64(n)/1000)
			for line := range strings.Lines(admin.Info(ctx, "commandstats").Val()) {
				if strings.HasPrefix(line, "cmdstat_evalsha") {
					v := 0.0
					fmt.Sscanf(strings.Split(line, ",")[2], "usec_per_call=%f", &v)
					best = min(best, v)
				}
			}
		}
		fmt.Printf("%-30s %7.2f us/op  %.2f server\n", name, bestD, best)
	}
	st, day := now.Unix(), now.Truncate(24*time.Hour).Unix()
	pat := fmt.Sprintf("^\x01(%%d+);burst/1,%d=(%%d+);day/86400,%d=(%%d+);", st, day)
	fm := fmt.Sprintf("\x01%%s;burst/1,%d=%%.0f;day/86400,%d=%%.0f", st, day)
	args := func(i int) []any {
		id := fmt.Appendf(nil, "%08d", rand.IntN(1e8))
		return []any{id, int64(1), pat, fm, int64(1 << 50), int64(1 << 50)}
	}
	for _, f := range strings.Split(os.Getenv("SCRIPTS"), " ") {
		src, err := os.ReadFile(f)
		require.NoError(b, err)
		sha, err := client.ScriptLoad(ctx, string(src)).Result()
		require.NoError(b, err)
		client.Del(ctx, "{a}:c:x")
		stat(f, 2000, func(i int) {
			if err := client.EvalSha(ctx, sha, []string{"{a}:c:x", "{a}:ce"}, args(i)...).Err(); err != nil {
				b.Fatal(err)
			}
		})
	}
	sha, _ := client.ScriptLoad(ctx, "return 1").Result()
	stat("return 1", 2000, func(i int) { client.EvalSha(ctx, sha, []string{"{a}:c:x", "{a}:ce"}, args(i)...) })
	stat("return 1, one arg", 2000, func(i int) { client.EvalSha(ctx, sha, []string{"{a}:c:x"}, "x") })
	stat("Spend", 2000, func(i int) {
		s, err := back.Spend(ctx, backend.Spend{ID: "k", SpendID: rand.Uint64(), Cost: 1, Windows: twoLimits(now)})
		if err != nil || !s.OK {
			b.Fatal(err)
		}
	})
}
