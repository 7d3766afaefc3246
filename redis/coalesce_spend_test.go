package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// Each spend is counted once and has its own reply, though others spend of the same key
// and of others and read in the same pipelines, and the server forgets its scripts.
func TestGatheredSpends(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (goredis.UniversalClient, []*testserver.Redis){
		"redis-server": func(t *testing.T) (goredis.UniversalClient, []*testserver.Redis) {
			server := testserver.StartRedis(t)
			return obedient(t, server.Addr()), []*testserver.Redis{server}
		},
		"cluster": func(t *testing.T) (goredis.UniversalClient, []*testserver.Redis) {
			cluster := testserver.StartCluster(t)
			client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: cluster.Addrs(), ContextTimeoutEnabled: true})
			t.Cleanup(func() { require.NoError(t, client.Close()) })
			return client, cluster.Nodes[:3]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, servers := open(t)
			seen := watchPipelines(client)
			b := handleOn(t, client, nil)
			ids := createMany(t, b, 50)
			seen.forget()
			windowsOf := func(id string) []backend.Window { // of its own: the reply of another key is none
				windows := twoLimits(noon)
				windows[0].Name, windows[1].Name, windows[1].Max = id+"a", id+"b", 2000
				return windows
			}
			var mu sync.Mutex
			known, passed := make(map[string]int64), make(map[string]int64)
			var wg sync.WaitGroup
			for w := range 100 {
				wg.Go(func() {
					for i := range 50 {
						id := ids[(w*7+i)%len(ids)]
						if i%2 == 0 {
							id = ids[0]
						}
						mu.Lock()
						before := known[id]
						mu.Unlock()
						spent, err := b.Spend(testContext(t), backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: 1, Windows: windowsOf(id)})
						if !assert.NoError(t, err) {
							return
						}
						assert.Equal(t, spent.Counts[0], spent.Counts[1])
						if spent.OK {
							assert.Greater(t, spent.Counts[0], before, "of those that were answered before it began")
							mu.Lock()
							passed[id]++
							known[id] = max(known[id], spent.Counts[0])
							mu.Unlock()
						} else {
							assert.EqualValues(t, 2000, spent.Counts[0])
						}
						if i == w%50 {
							assert.Equal(t, id, string(get(t, b, id).Data))
						}
						if w == 0 && i%10 == 0 {
							for _, server := range servers {
								assert.NoError(t, server.Client().ScriptFlush(testContext(t)).Err())
							}
						}
					}
				})
			}
			wg.Wait()
			assert.Equal(t, []int64{2000, 2000}, counts(t, b, ids[0], windowsOf(ids[0])))
			// On a machine so busy that a spend takes half a second, more others may come
			// between it and its repeat than are remembered.
			assert.InDelta(t, 1950, passed[ids[0]], 50)
			for _, id := range ids[1:] {
				assert.Equal(t, []int64{passed[id], passed[id]}, counts(t, b, id, windowsOf(id)))
			}
			assert.Zero(t, seen.again, "of each key one spend at a time")
			count, gathered, largest, atOnce, _ := seen.sent()
			assert.Greater(t, gathered, count+count/2, "many are sent with others")
			assert.LessOrEqual(t, largest, redis.PipelineLen)
			assert.LessOrEqual(t, atOnce, len(servers)*redis.PipelineCount)
			require.Eventually(t, func() bool { return redis.GathersNothing(b) }, waitLimit, waitTick)
		})
	}
}

// A spend that gives up before it is sent is not applied, and says so; one that gives up
// after may be, and counts once when it is repeated.
func TestGatheredSpendGivesUp(t *testing.T) {
	t.Parallel()
	client := obedient(t, testserver.StartRedis(t).Addr())
	seen := watchPipelines(client)
	b := redis.GatherPatiently(handleOn(t, client, nil))
	ids := createMany(t, b, 1)
	spend(t, b, spendOf("warm", 1, 1))
	release := seen.hold()
	var held sync.WaitGroup
	seen.fill(t, b, &held, ids[0])

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			_, err := b.Spend(ctx, spendOf(fmt.Sprint("waiting", i), 1, 1))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, backend.ErrNotApplied)
		})
	}
	wg.Wait()
	_, waiting := redis.Gathering(b)
	require.Zero(t, waiting)
	release()
	held.Wait()

	release = seen.hold()
	patience, err := 50*time.Millisecond, backend.ErrNotApplied
	for errors.Is(err, backend.ErrNotApplied) && patience < waitLimit { // else a busy machine had not sent it yet
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err = b.Spend(ctx, spendOf("sent", 1, 1))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		patience *= 2
	}
	unknown(t, err)
	release()
	require.Equal(t, []int64{1, 1}, spend(t, b, spendOf("sent", 1, 1)).Counts)
	windows := spendOf("", 1, 1).Windows
	require.Eventually(t, func() bool { return counts(t, b, "sent", windows)[0] == 1 }, waitLimit, waitTick)
	for i := range 100 {
		require.Equal(t, []int64{0, 0}, counts(t, b, fmt.Sprint("waiting", i), windows))
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for i := range 100 {
		require.Zero(t, seen.keys[countsKey(fmt.Sprint("waiting", i))])
	}
}

// A pipeline of spends whose replies are lost, or that is lost itself, counts each once.
func TestGatheredSpendsLostOnTheWay(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]testserver.Fault{
		"the replies":     testserver.DropReply,
		"half of a reply": testserver.CutReply,
		"the requests":    testserver.CutBefore,
		"half of them":    testserver.CutRequest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openBroken(t)
			redis.GatherAll(s.Backend)
			spend(t, s.past, spendOf("warm", 1, 1))
			windows := twoLimits(noon)
			for round := range 20 {
				s.proxy.Next(fault, aScript)
				faults := s.proxy.Count(fault)
				n := int64(round + 1)
				var wg sync.WaitGroup
				for i := range 40 {
					id := fmt.Sprint("id", i/2) // of each once in a pipeline, and once alone
					wg.Go(func() {
						spent, err := s.Spend(testContext(t), backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: 1, Windows: windows})
						assert.NoError(t, err)
						assert.True(t, spent.OK)
					})
				}
				wg.Wait()
				require.Equal(t, faults+1, s.proxy.Count(fault), "the fault did not happen")
				for i := range 20 {
					require.Equal(t, []int64{2 * n, 2 * n}, counts(t, s.past, fmt.Sprint("id", i), windows))
				}
			}
		})
	}
}

// A hook of the client's that lets no pipeline through makes no answer out of it.
func TestPipelinesOfSpendsRefusedByHook(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]error{"with an error": errors.New("not now"), "as if it had been sent": errSent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := obedient(t, startMini(t).Addr())
			client.AddHook(pretend{})
			seen := watchPipelines(client)
			seen.refuse = refuse
			b := redis.GatherPatiently(handleOn(t, client, nil))
			require.Equal(t, backend.Spent{OK: true, Counts: []int64{1, 1}}, spend(t, b, spendOf("id", 1, 1)))
			require.Equal(t, backend.Spent{Counts: []int64{1, 1}}, spend(t, b, spendOf("id", 2, 10)))
			count, _, _, _, _ := seen.sent()
			require.Equal(t, 2, count)
		})
	}
}
