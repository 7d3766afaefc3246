package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		client := clientOf(t, &goredis.Options{Addr: miniredis.RunT(t).Addr()})
		conformance.Run(t, func(tb testing.TB, name string) backend.Backend {
			b, err := redis.New(client, &redis.Options{Namespace: name})
			require.NoError(tb, err)
			return b
		})
	})
}

func clientOf(t testing.TB, o *goredis.Options) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(o)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// testContext bounds what a test waits for.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
