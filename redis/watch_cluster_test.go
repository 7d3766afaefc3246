package redis_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// strangers are servers that are shown to a watcher as masters of a cluster, and pass
// nothing on to each other. All commands go to the first.
type strangers struct {
	*goredis.Client
	second *goredis.Client
	both   atomic.Bool // whether the second is shown too
}

func (s *strangers) ForEachMaster(ctx context.Context, fn func(ctx context.Context, master *goredis.Client) error) error {
	if err := fn(ctx, s.Client); err != nil || !s.both.Load() {
		return err
	}
	return fn(ctx, s.second)
}

// hold is a plan that holds requests with text in them until release is called, once
// each, and says when one came.
func hold(t *testing.T, p *testserver.Proxy, text string) (came <-chan struct{}, release func()) {
	t.Helper()
	held, free := make(chan struct{}), make(chan struct{})
	first := true
	p.SetPlan(func(request []byte) testserver.Fault {
		if first && bytes.Contains(request, []byte(text)) {
			first = false
			close(held)
			<-free
		}
		return testserver.Pass
	})
	release = func() { close(free) }
	return held, release
}

// What a new master changes before a watcher hears from it may be missed, for the
// others need not pass it on.
func TestWatchNewMaster(t *testing.T) {
	t.Parallel()
	one, two := testserver.StartRedis(t), testserver.StartRedis(t)
	proxy := testserver.StartProxy(t, two.Addr())
	cluster := &strangers{
		Client: clientOf(t, &goredis.Options{Addr: one.Addr(), ContextTimeoutEnabled: true}),
		second: clientOf(t, &goredis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true}),
	}
	changes := watch(t, handleOn(t, cluster, &redis.Options{ProbeInterval: time.Second}))
	came, release := hold(t, proxy, "\r\nsubscribe\r\n")
	cluster.both.Store(true)
	receive(t, changes, "") // the masters are others
	<-came
	create(t, openURL(t, two.URL()), record("early", "o", "d"))
	release()
	receive(t, changes, "")
	create(t, openURL(t, two.URL()), record("late", "o", "d"))
	receive(t, changes, "late")
}

// An attempt that is repeated because its reply was lost is another change if the
// first one was undone between: watchers of a cluster, who pass over what they heard
// from another master, hear of both.
func TestWatchRepeatedChange(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	proxy := testserver.StartProxy(t, server.Addr())
	cluster := &strangers{Client: clientOf(t, &goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})}
	changes := watch(t, handleOn(t, cluster, &redis.Options{ProbeInterval: 10 * time.Second}))
	other := openURL(t, server.URL())
	create(t, other, record("first", "o", "d")) // so that the server knows the script
	receive(t, changes, "first")

	b := handleOn(t, clientOf(t, &goredis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true}), nil)
	proxy.DropReply(func(request []byte) bool { return bytes.Contains(request, []byte("again")) })
	came, release := hold(t, proxy, "again")
	done := make(chan error, 1)
	go func() { done <- b.Create(testContext(t), record("again", "o", "d")) }()
	receive(t, changes, "again")
	<-came // the second attempt
	require.NoError(t, other.Delete(testContext(t), "again"))
	receive(t, changes, "again")
	release()
	require.NoError(t, <-done)
	require.Equal(t, "again", get(t, other, "again").ID)
	receive(t, changes, "again")
}
