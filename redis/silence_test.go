package redis_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// A call that should return at once takes more than tooLong on no machine that is
// merely busy, and much more if it waits for the timeout of a client.
const (
	tooLong = 4 * time.Second
	timeout = 15 * time.Second
)

// A server that accepts and says nothing holds up no call beyond its context,
// whether that ends by itself or is cancelled, and whatever the client's settings.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T, addr string) *redis.Backend{
		"opened by URL": func(t *testing.T, addr string) *redis.Backend {
			return openURL(t, "redis://"+addr+"?read_timeout="+timeout.String())
		},
		"with a client that ignores deadlines": func(t *testing.T, addr string) *redis.Backend {
			return handleOn(t, clientOf(t, &goredis.Options{Addr: addr, ReadTimeout: timeout}), nil)
		},
		"with a client that obeys them": func(t *testing.T, addr string) *redis.Backend {
			return handleOn(t, clientOf(t, &goredis.Options{Addr: addr, ReadTimeout: timeout, ContextTimeoutEnabled: true}), nil)
		},
		"with a client without timeouts": func(t *testing.T, addr string) *redis.Backend {
			return handleOn(t, clientOf(t, &goredis.Options{Addr: addr, ReadTimeout: -1, WriteTimeout: -1, MaxRetries: -1, ContextTimeoutEnabled: true}), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			b := open(t, server.Addr())
			create(t, b, record("there", "alice", "d"))
			for _, m := range methods(b) { // so that there are connections
				require.NoError(t, m.call(testContext(t)), m.name)
			}
			if name == "with a client without timeouts" {
				t.Cleanup(server.Resume) // or its connections are never given up
			}
			server.Pause()
			var wg sync.WaitGroup
			for _, m := range methods(b) {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
					defer cancel()
					start := time.Now()
					err := m.call(ctx)
					assert.Less(t, time.Since(start), tooLong, "%s with a deadline", m.name)
					assert.ErrorIs(t, err, context.DeadlineExceeded, m.name)
					assertNoAnswer(t, err, m.name)
				})
				wg.Go(func() {
					ctx, cancel := context.WithCancel(context.Background())
					var cancelled time.Time
					timer := time.AfterFunc(50*time.Millisecond, func() {
						cancelled = time.Now()
						cancel()
					})
					defer timer.Stop()
					err := m.call(ctx)
					<-ctx.Done()
					assert.Less(t, time.Since(cancelled), tooLong, "%s cancelled", m.name)
					assert.ErrorIs(t, err, context.Canceled, m.name)
					assertNoAnswer(t, err, m.name)
				})
			}
			wg.Wait()
		})
	}
}

func assertNoAnswer(t *testing.T, err error, name string) {
	t.Helper()
	for _, answer := range []error{backend.ErrNotFound, backend.ErrExists, backend.ErrConflict, backend.ErrClosed} {
		assert.NotErrorIs(t, err, answer, name)
	}
}

// A server that is slow, and not silent, answers: what took too long for the first
// attempt is waited for in the second, and then for a while in the first.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	proxy := testserver.StartProxy(t, server.Addr())
	create(t, openURL(t, server.URL()), record("there", "alice", "d"))
	b := openURL(t, "redis://"+proxy.Addr()+"?read_timeout=10s")
	ctx := testContext(t)
	calls := recordCalls(redis.Client(b))
	proxy.Delay(700 * time.Millisecond)
	require.Equal(t, "d", string(get(t, b, "there").Data))
	require.Len(t, calls.named("get"), 2)
	require.NoError(t, b.Update(ctx, backend.Record{ID: "there", Revision: 1, Data: []byte("e")}))
	require.Len(t, calls.named("evalsha"), 1, "the server is known to be slow")
	require.Equal(t, "e", string(get(t, b, "there").Data))
	require.Len(t, calls.named("get"), 3)
}

// Close does not wait for a silent server for long. Calls that it overtakes end, and
// none claims to have had no effect that may have one.
func TestCloseAmidSilence(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := openURL(t, "redis://"+server.Addr()+"/0?read_timeout=1m")
	create(t, b, record("there", "alice", "d"))
	for _, m := range methods(b) {
		require.NoError(t, m.call(testContext(t)), m.name)
	}
	changes, err := b.Watch(testContext(t))
	require.NoError(t, err)
	calls := recordCalls(redis.Client(b))
	server.Pause()
	var wg sync.WaitGroup
	writing := 0 // methods, each with a script of its own
	for _, m := range methods(b) {
		if m.writes {
			writing++
		}
		wg.Go(func() {
			err := m.call(testContext(t))
			assert.Error(t, err, m.name)
			switch {
			case errors.Is(err, backend.ErrClosed):
				assert.False(t, m.writes && !m.inChunks(), "%s: %v: it may have an effect yet", m.name, err)
			case m.writes:
				assert.NotErrorIs(t, err, backend.ErrNotApplied, m.name)
			}
		})
	}
	require.Eventually(t, func() bool {
		scripts := make(map[any]bool)
		for _, args := range calls.named("evalsha") {
			scripts[args[1]] = true
		}
		return len(scripts) == writing && len(calls.named("get")) > 0
	}, waitLimit, waitTick, "all are under way")
	start := time.Now()
	require.NoError(t, b.Close())
	require.Less(t, time.Since(start), 10*time.Second)
	wg.Wait()
	for range changes {
	}
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Touch(testContext(t), nil), backend.ErrClosed)
}

// Close of a handle on the caller's client leaves the client alone.
func TestCloseLeavesTheClient(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	b := handleOn(t, client, nil)
	create(t, b, record("id", "o", "d"))
	require.NoError(t, b.Close())
	require.NoError(t, client.Ping(testContext(t)).Err())
	require.Equal(t, "d", string(get(t, handleOn(t, client, nil), "id").Data))
}

// A client that its owner closed is an outage.
func TestClientClosedByItsOwner(t *testing.T) {
	client := goredis.NewClient(miniOptions(t))
	b := handleOn(t, client, nil)
	create(t, b, record("there", "o", "d"))
	changes, err := b.Watch(testContext(t))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	for _, m := range methods(b) {
		start := time.Now()
		err := m.call(testContext(t))
		noAnswer(t, err)
		if m.writes && !m.inChunks() {
			require.ErrorIs(t, err, backend.ErrNotApplied, m.name)
		}
		require.Less(t, time.Since(start), tooLong, "%s: no use trying again", m.name)
	}
	for range changes { // until it is closed
	}
}
