package redis_test

import (
	"context"
	"errors"
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

// Each spend has its own reply: of the same key no two see the same count, and none is
// missing, though others spend of other keys and read in the same pipelines, and the
// server forgets its scripts.
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
			windows := twoLimits(noon)
			windows[1].Max = 2000
			var mu sync.Mutex
			counted, passed := make(map[string]map[int64]bool), 0
			for _, id := range ids {
				counted[id] = make(map[int64]bool)
			}
			var wg sync.WaitGroup
			for w := range 100 {
				wg.Go(func() {
					for i := range 50 {
						id := ids[(w*7+i)%len(ids)]
						if i%2 == 0 {
							id = ids[0]
						}
						spent, err := b.Spend(testContext(t), backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: 1, Windows: windows})
						if !assert.NoError(t, err) {
							return
						}
						if spent.OK {
							mu.Lock()
							assert.Equal(t, spent.Counts[0], spent.Counts[1])
							assert.False(t, counted[id][spent.Counts[0]], "%s counted %d twice", id, spent.Counts[0])
							counted[id][spent.Counts[0]] = true
							passed++
							mu.Unlock()
						} else {
							assert.Equal(t, []int64{2000, 2000}, spent.Counts)
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
			assert.Len(t, counted[ids[0]], 2000)
			sum := 0
			for id, all := range counted {
				sum += len(all)
				stored := int64(len(all))
				assert.Equal(t, []int64{stored, stored}, counts(t, b, id, windows))
			}
			assert.Equal(t, passed, sum)
			count, gathered, largest, atOnce, _ := seen.sent()
			assert.Greater(t, gathered, 2*count, "most are sent with others")
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
			_, err := b.Spend(ctx, spendOf("waiting", uint64(i), 1))
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
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := b.Spend(ctx, spendOf("sent", 1, 1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unknown(t, err)
	release()
	require.Equal(t, []int64{1, 1}, spend(t, b, spendOf("sent", 1, 1)).Counts)
	windows := spendOf("", 1, 1).Windows
	require.Eventually(t, func() bool { return counts(t, b, "sent", windows)[0] == 1 }, waitLimit, waitTick)
	require.Equal(t, []int64{0, 0}, counts(t, b, "waiting", windows))
	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Zero(t, seen.keys[countsKey("waiting")])
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
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						spent, err := s.Spend(testContext(t), backend.Spend{ID: "id", SpendID: rand.Uint64(), Cost: 1, Windows: windows})
						assert.NoError(t, err)
						assert.True(t, spent.OK)
					})
				}
				wg.Wait()
				require.Equal(t, faults+1, s.proxy.Count(fault), "the fault did not happen")
				n := int64(16 * (round + 1))
				require.Equal(t, []int64{n, n}, counts(t, s.past, "id", windows))
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
			b := redis.GatherAll(handleOn(t, client, nil))
			require.Equal(t, backend.Spent{OK: true, Counts: []int64{1, 1}}, spend(t, b, spendOf("id", 1, 1)))
			require.Equal(t, backend.Spent{Counts: []int64{1, 1}}, spend(t, b, spendOf("id", 2, 10)))
			count, _, _, _, _ := seen.sent()
			require.Equal(t, 2, count)
		})
	}
}
