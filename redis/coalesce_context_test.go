package redis_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// While a server is silent, callers that wait in common pipelines return each at its
// own deadline. When it goes on all is well. (Not beside other tests, since times
// matter here.)
func TestGatheredDeadlines(t *testing.T) {
	const callers, early = 128, 32
	for name, open := range map[string]func(t *testing.T, addr string) *redis.Backend{
		"opened by URL": func(t *testing.T, addr string) *redis.Backend { return openURL(t, "redis://"+addr) },
		"everything is gathered": func(t *testing.T, addr string) *redis.Backend {
			return redis.GatherAll(handleOn(t, obedient(t, addr), nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := testserver.StartRedis(t)
			b := open(t, server.Addr())
			seen := watchPipelines(redis.Client(b))
			ids := createMany(t, b, callers)
			getAll(t, b, ids)
			for range 2 { // the second time it is known to be slow
				server.Pause()
				late := make([]time.Duration, callers)
				var wg sync.WaitGroup
				for i, id := range ids {
					wait := time.Duration(50+i) * time.Millisecond
					if i >= early {
						wait = 100*time.Millisecond + 900*time.Millisecond*time.Duration(i-early)/(callers-early-1)
					}
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), wait)
						defer cancel()
						// A goroutine that does nothing else shows what is the machine's delay.
						witness := make(chan time.Time, 1)
						go func() {
							<-ctx.Done()
							witness <- time.Now()
						}()
						_, err := b.Get(ctx, id)
						returned := time.Now()
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						deadline, _ := ctx.Deadline()
						assert.False(t, returned.Before(deadline), "too early")
						assert.Less(t, returned.Sub(deadline), tooLong)
						late[i] = returned.Sub(<-witness)
					})
				}
				wg.Wait()
				// Most of those who share pipelines with callers that wait for much longer:
				// half a second late if they returned with the pipeline.
				assert.Less(t, slices.Sorted(slices.Values(late[:early]))[early/2], 250*time.Millisecond)
				server.Resume()
				getAll(t, b, ids)
			}
			_, _, largest, _, _ := seen.sent()
			require.Greater(t, largest, 1)
		})
	}
}

// A caller that is cancelled while its pipeline waits for replies returns, and the
// others in that pipeline get theirs.
func TestGatheredAndCancelled(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	client := obedient(t, server.Addr())
	seen := watchPipelines(client)
	b := redis.GatherAll(handleOn(t, client, nil))
	ids := createMany(t, b, 40)
	together := false
	for range 20 { // on a slow machine some may go alone before all have come
		release := seen.hold()
		var wg sync.WaitGroup
		seen.fill(t, b, &wg, ids[0])
		ctx, cancel := context.WithCancel(testContext(t))
		cancelled := make(chan error, 1)
		go func() {
			_, err := b.Get(ctx, ids[0])
			cancelled <- err
		}()
		wg.Go(func() { getAll(t, b, ids[1:]) })
		require.Eventually(t, func() bool {
			_, waiting := redis.Gathering(b)
			_, _, _, _, single := seen.sent()
			return waiting == len(ids) || single > 0
		}, waitLimit, time.Millisecond)
		next := seen.hold()
		release()
		require.Eventually(t, func() bool {
			_, _, largest, _, single := seen.sent()
			together = largest == len(ids)
			return together || single > 0
		}, waitLimit, time.Millisecond)
		server.Pause()
		next()
		start := time.Now()
		cancel()
		err := <-cancelled
		require.Less(t, time.Since(start), tooLong)
		server.Resume()
		wg.Wait()
		if together {
			require.ErrorIs(t, err, context.Canceled)
			return
		}
		seen.forget()
	}
	t.Fatal("they never came into one pipeline")
}

// Of a server that is known to be slow replies are waited for for longer, and callers
// that are cancelled do not.
func TestGatheredAndCancelledWhenSlow(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := redis.GatherAll(handleOn(t, clientOf(t, &goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: timeout}), nil))
	ids := createMany(t, b, 1)
	server.Pause()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := b.Get(ctx, ids[0])
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel = context.WithCancel(testContext(t))
	came := make(chan error, 1)
	go func() {
		_, err := b.Get(ctx, ids[0])
		came <- err
	}()
	select {
	case err := <-came:
		require.NoError(t, err, "it is waited for")
	case <-time.After(800 * time.Millisecond): // longer than before the server was known to be slow
	}
	start := time.Now()
	cancel()
	require.ErrorIs(t, <-came, context.Canceled)
	require.Less(t, time.Since(start), tooLong)
	server.Resume()
	getAll(t, b, ids)
}

// A caller whose deadline passes before the server answers costs the others nothing:
// their pipeline goes on.
func TestGatheredWithOneInAHurry(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	client := clientOf(t, &goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, ReadTimeout: timeout})
	seen := watchPipelines(client)
	b := redis.GatherPatiently(handleOn(t, client, nil))
	ids := createMany(t, b, 20)
	for i := range ids { // at any place in the pipeline
		release := seen.hold()
		var wg sync.WaitGroup
		seen.fill(t, b, &wg, ids[0])
		hurried := make(chan struct{})
		for j, id := range ids {
			if j == i {
				wg.Go(func() {
					defer close(hurried)
					ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
					defer cancel()
					_, err := b.Get(ctx, id)
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				})
			} else {
				wg.Go(func() { assert.Equal(t, id, string(get(t, b, id).Data)) })
			}
			require.Eventually(t, func() bool {
				_, waiting := redis.Gathering(b)
				return waiting >= j
			}, waitLimit, 100*time.Microsecond)
		}
		server.Pause()
		release()
		<-hurried
		server.Resume()
		wg.Wait()
	}
	_, _, _, _, single := seen.sent()
	require.Zero(t, single)
}
