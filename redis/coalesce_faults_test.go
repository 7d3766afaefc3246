package redis_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// getAll reads each of the records at once, all of which are there.
func getAll(t *testing.T, b backend.Backend, ids []string) {
	t.Helper()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			r, err := b.Get(testContext(t), id)
			if assert.NoError(t, err) {
				assert.Equal(t, id, string(r.Data))
			}
		})
	}
	wg.Wait()
}

// When a connection breaks with a pipeline on it, each caller asks again, once.
func TestGatheredAndLost(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]testserver.Fault{
		"the replies, and the connection": testserver.DropReply,
		"half of the replies":             testserver.CutReply,
		"the replies, in silence":         testserver.HangReply,
		"the requests":                    testserver.CutBefore,
		"half of the requests":            testserver.CutRequest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			proxy := testserver.StartProxy(t, server.Addr())
			readTimeout := "30s"
			if fault == testserver.HangReply {
				readTimeout = "1s" // is what it takes to notice
			}
			b := redis.GatherPatiently(openURL(t, "redis://"+proxy.Addr()+"?read_timeout="+readTimeout))
			seen := watchPipelines(redis.Client(b))
			ids := createMany(t, openURL(t, server.URL()), 128)
			getAll(t, b, ids)
			_, gets, _, _, _ := seen.sent()
			require.Equal(t, len(ids), gets)
			aPipeline := func(request []byte) bool { return bytes.Count(request, []byte("\r\nget\r\n")) > 8 }
			for range 3 {
				faults := proxy.Count(fault)
				proxy.Next(fault, aPipeline)
				for proxy.Count(fault) == faults {
					getAll(t, b, ids)
				}
			}
			_, gets, _, _, single := seen.sent()
			require.Zero(t, gets%len(ids), "each was in one pipeline")
			require.Greater(t, single, 3*8)
			if fault != testserver.HangReply { // a slow machine may exceed the timeout without it
				require.LessOrEqual(t, single, 3*redis.PipelineLen, "those of the pipelines that were lost, once each")
			}
		})
	}
}

// An error that is the reply to one command is that caller's, and the same as without
// a pipeline. The others do not notice.
func TestErrorsInPipelines(t *testing.T) {
	t.Parallel()
	texts := []string{
		"WRONGTYPE Operation against a key holding the wrong kind of value", "MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1",
		"CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing of slot", "LOADING Redis is loading the dataset in memory",
		"READONLY You can't write against a read only replica.", "MASTERDOWN Link with MASTER is down", "NOAUTH Authentication required.",
		"NOPERM this user has no permissions", "ERR max number of clients reached", "OOPS what is this",
	}
	good, err := redisValue("good")
	require.NoError(t, err)
	fake, err := server.NewServer("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	require.NoError(t, fake.Register("GET", func(w *server.Peer, _ string, args []string) {
		for i, text := range texts {
			if strings.HasSuffix(args[0], fmt.Sprint(":error-", i)) {
				w.WriteError(text)
				return
			}
		}
		w.WriteBulk(good)
	}))
	client := clientOf(t, &goredis.Options{Addr: fake.Addr().String(), MaxRetries: -1, ContextTimeoutEnabled: true})
	plain := handleOn(t, client, nil)
	want := make([]error, len(texts))
	for i := range texts {
		_, want[i] = plain.Get(testContext(t), fmt.Sprint("error-", i))
		require.Equal(t, i == 0, want[i] == nil)
	}
	seen := watchPipelines(client)
	b := redis.GatherPatiently(handleOn(t, client, nil))
	release := seen.hold() // so that the next ones are long
	var wg sync.WaitGroup
	for round := range 3 {
		for i := range texts {
			wg.Go(func() {
				_, err := b.Get(testContext(t), fmt.Sprint("error-", i))
				if want[i] == nil {
					assert.NoError(t, err)
				} else {
					assert.EqualError(t, err, want[i].Error())
				}
			})
			wg.Go(func() {
				r, err := b.Get(testContext(t), fmt.Sprint("good-", round, "-", i))
				if assert.NoError(t, err) {
					assert.Equal(t, "good", string(r.Data))
				}
			})
		}
	}
	require.Eventually(t, func() bool {
		_, gets, _, _, _ := seen.sent()
		_, waiting := redis.Gathering(b)
		return gets+waiting == 6*len(texts)
	}, waitLimit, time.Millisecond)
	release()
	wg.Wait()
	_, _, largest, _, single := seen.sent()
	require.Greater(t, largest, len(texts))
	require.Equal(t, 3*(len(texts)-1), single, "those that got an error, and no others, were sent again")
}

// redisValue is what is stored of a record with these data.
func redisValue(data string) (string, error) {
	value, err := envelope.Append(nil, envelope.Header{Revision: 1}, "owner", []byte(data))
	return string(value), err
}

// While slots move between masters lookups follow, each on its own.
func TestGatheredWhileSlotsMove(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	b := redis.GatherAll(openURL(t, c.URL()))
	ids := createMany(t, b, 256)
	done := make(chan struct{})
	var gets atomic.Int64
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; ; i += 5 {
				select {
				case <-done:
					return
				default:
				}
				id := ids[i%len(ids)]
				r, err := b.Get(testContext(t), id)
				if !assert.NoError(t, err) || !assert.Equal(t, id, string(r.Data)) {
					return
				}
				_, err = b.Get(testContext(t), "unknown-"+id) // of one on its way, ASK
				if !assert.ErrorIs(t, err, backend.ErrNotFound) {
					return
				}
				gets.Add(2)
			}
		})
	}
	more := func() {
		n := gets.Load()
		require.Eventually(t, func() bool { return gets.Load() > n+2000 || t.Failed() }, waitLimit, waitTick)
	}
	for round := range 3 {
		moveShards(t, c, []int{0, 7, 14, 21, 28, 35, 42, 49, 56, 63}, c.Nodes[round%3], more)
		more()
	}
	close(done)
	wg.Wait()
	for _, word := range []string{"MOVED", "ASK"} {
		assert.Positive(t, replied(t, word, c.Nodes...), word)
	}
}

// A master of a cluster that is silent holds up the callers who ask for its keys, and
// not those who ask for others'.
func TestGatheredWithSilentMaster(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t, "cluster-node-timeout 60000")
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true, DisableRoutingPolicies: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	seen := watchPipelines(client)
	b := redis.GatherAll(handleOn(t, client, nil))
	ids := createMany(t, b, 256)
	getAll(t, b, ids)
	silent := c.MasterOf(slotOfShard(0))
	var lost, sound []string
	for _, id := range ids {
		if c.MasterOf(slotOfShard(redis.ShardOf(id))) == silent {
			lost = append(lost, id)
		} else {
			sound = append(sound, id)
		}
	}
	silent.Pause()
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	for _, id := range lost {
		wg.Go(func() {
			for ctx.Err() == nil {
				attempt, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				_, err := b.Get(attempt, id)
				assert.Error(t, err)
				cancel()
			}
		})
	}
	_, _, _, _, single := seen.sent()
	for range 100 {
		getAll(t, b, sound)
	}
	_, _, _, _, after := seen.sent()
	assert.Less(t, after-single, 100*len(sound)/10, "those that were held up and sent alone")
	cancel()
	wg.Wait()
	silent.Resume()
	getAll(t, b, ids)
}

// Close waits for Gets that are gathered as it does for others, and nothing of them is
// left after it (see TestMain).
func TestCloseAmidGatheredGets(t *testing.T) {
	t.Parallel()
	t.Run("the server answers", func(t *testing.T) {
		t.Parallel()
		server := testserver.StartRedis(t)
		for range 20 {
			b := redis.GatherAll(openURL(t, server.URL()))
			ids := createMany(t, b, 16)
			var gets atomic.Int64
			var wg sync.WaitGroup
			for w := range 64 {
				wg.Go(func() {
					for {
						r, err := b.Get(testContext(t), ids[w%len(ids)])
						if err != nil {
							assert.ErrorIs(t, err, backend.ErrClosed)
							return
						}
						assert.Equal(t, ids[w%len(ids)], string(r.Data))
						gets.Add(1)
					}
				})
			}
			require.Eventually(t, func() bool { return gets.Load() > 200 }, waitLimit, time.Millisecond)
			require.NoError(t, b.Close())
			wg.Wait()
			require.True(t, redis.GathersNothing(b))
		}
	})
	t.Run("the server is silent", func(t *testing.T) {
		t.Parallel()
		server := testserver.StartRedis(t)
		b := openURL(t, server.URL()+"?read_timeout=1m")
		ids := createMany(t, b, 300)
		getAll(t, b, ids)
		server.Pause()
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() {
				_, err := b.Get(testContext(t), id)
				assert.ErrorIs(t, err, backend.ErrClosed)
			})
		}
		require.Eventually(t, func() bool {
			senders, _ := redis.Gathering(b)
			return senders == redis.PipelineCount
		}, waitLimit, time.Millisecond)
		start := time.Now()
		require.NoError(t, b.Close())
		require.Less(t, time.Since(start), 10*time.Second)
		wg.Wait()
	})
}
