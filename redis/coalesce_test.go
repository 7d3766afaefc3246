package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// pipelines watches the pipelines of GETs and scripts that go through a client, and can
// hold them up or keep them from being sent.
type pipelines struct {
	mu          sync.Mutex
	sizes       []int
	keys        map[string]int // how often each was sent in a pipeline
	again       int            // scripts of a key that is in a pipeline under way
	scripts     map[string]int // by key, those in pipelines under way
	under, most int            // how many are under way, and were at once
	single      int            // GETs outside of pipelines
	gate        chan struct{}  // nil: open
	refuse      error
}

// watchPipelines adds a hook to a client, or to the servers of one that has connected
// to none yet.
func watchPipelines(client goredis.UniversalClient) *pipelines {
	p := &pipelines{keys: make(map[string]int), scripts: make(map[string]int)}
	if cluster, ok := client.(*goredis.ClusterClient); ok {
		cluster.OnNewNode(func(server *goredis.Client) { server.AddHook(p) })
	} else {
		client.AddHook(p)
	}
	return p
}

func (p *pipelines) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (p *pipelines) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if cmd.Name() == "get" {
			p.mu.Lock()
			p.single++
			p.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

func (p *pipelines) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if gatherableKey(cmds[0]) == "" { // what a connection begins with
			return next(ctx, cmds)
		}
		p.mu.Lock()
		p.sizes = append(p.sizes, len(cmds))
		for _, cmd := range cmds {
			key := gatherableKey(cmd)
			p.keys[key]++
			if cmd.Name() != "get" {
				if p.scripts[key]++; p.scripts[key] > 1 {
					p.again++
				}
			}
		}
		p.under++
		p.most = max(p.most, p.under)
		gate, refuse := p.gate, p.refuse
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.under--
			for _, cmd := range cmds {
				if cmd.Name() != "get" {
					p.scripts[gatherableKey(cmd)]--
				}
			}
		}()
		if gate != nil {
			<-gate
		}
		if refuse != nil {
			return refuse
		}
		return next(ctx, cmds)
	}
}

// gatherableKey is the first key of what may be gathered, and "" of other commands.
func gatherableKey(cmd goredis.Cmder) string {
	switch cmd.Name() {
	case "get":
		return cmd.Args()[1].(string)
	case "evalsha", "eval":
		return cmd.Args()[3].(string)
	}
	return ""
}

// hold has pipelines from now on wait until the function it returns is called.
func (p *pipelines) hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gate := make(chan struct{})
	p.gate = gate
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.gate == gate {
			p.gate = nil
		}
		close(gate)
	}
}

// fill has one Get in each of the pipelines that can be under way, which are held, so
// that what comes then has to wait.
func (p *pipelines) fill(t *testing.T, b *redis.Backend, wg *sync.WaitGroup, id string) {
	t.Helper()
	for range redis.PipelineCount {
		before, _, _, _, _ := p.sent()
		wg.Go(func() { assert.Equal(t, id, string(get(t, b, id).Data)) })
		require.Eventually(t, func() bool {
			count, _, _, _, _ := p.sent()
			return count > before
		}, waitLimit, time.Millisecond)
	}
}

func (p *pipelines) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes, p.single = nil, 0
}

func (p *pipelines) sent() (count, gets, largest, atOnce, single int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.sizes {
		gets += n
		largest = max(largest, n)
	}
	return len(p.sizes), gets, largest, p.most, p.single
}

// obedient is a client that obeys deadlines, without which nothing is gathered.
func obedient(t *testing.T, addr string) *goredis.Client {
	return clientOf(t, &goredis.Options{Addr: addr, ContextTimeoutEnabled: true})
}

// createMany makes records whose data are their ids.
func createMany(t *testing.T, b backend.Backend, n int) (ids []string) {
	t.Helper()
	ids = make([]string, n)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				ids[i] = fmt.Sprintf("key-%04d", i)
				assert.NoError(t, b.Create(testContext(t), record(ids[i], "owner of "+ids[i], ids[i])))
			}
		})
	}
	wg.Wait()
	return ids
}

// Each caller gets the record it asked for, or that there is none, whoever else asks
// for whatever at the same time. Pipelines are bounded in length and number, and when
// nobody asks any more nothing is left of them.
func TestGatheredGets(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (goredis.UniversalClient, int){
		"miniredis": func(t *testing.T) (goredis.UniversalClient, int) { return obedient(t, startMini(t).Addr()), 1 },
		"redis-server": func(t *testing.T) (goredis.UniversalClient, int) {
			return obedient(t, testserver.StartRedis(t).Addr()), 1
		},
		"cluster": func(t *testing.T) (goredis.UniversalClient, int) {
			client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: testserver.StartCluster(t).Addrs(), ContextTimeoutEnabled: true})
			t.Cleanup(func() { require.NoError(t, client.Close()) })
			return client, 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, servers := open(t)
			seen := watchPipelines(client)
			b := handleOn(t, client, nil)
			ids := createMany(t, b, 300)
			const wrongType = "wrong-type"
			require.NoError(t, client.RPush(testContext(t), redis.RecordKey(b, wrongType), "no record").Err())
			var wg sync.WaitGroup
			for w := range 300 {
				wg.Go(func() {
					for i := range 40 {
						id := ids[(w*7+i*13)%len(ids)]
						r, err := b.Get(testContext(t), id)
						assert.NoError(t, err)
						assert.Equal(t, backend.Record{ID: id, Owner: "owner of " + id, Data: []byte(id), Revision: 1}, r)
						switch (w + i) % 10 {
						case 0:
							_, err = b.Get(testContext(t), "unknown-"+id)
							assert.ErrorIs(t, err, backend.ErrNotFound)
						case 1:
							r, err = b.Get(testContext(t), wrongType)
							assert.NoError(t, err)
							assert.Equal(t, backend.Record{ID: wrongType}, r)
						}
					}
				})
			}
			wg.Wait()
			count, gets, largest, atOnce, single := seen.sent()
			assert.Greater(t, gets, 2*count, "most are sent with others")
			assert.LessOrEqual(t, largest, redis.PipelineLen)
			assert.LessOrEqual(t, atOnce, servers*redis.PipelineCount)
			assert.GreaterOrEqual(t, gets+single, 300*40*12/10, "each is sent: no reply is shared")
			require.Eventually(t, func() bool { return redis.GathersNothing(b) }, waitLimit, waitTick)
		})
	}
}

// Few Gets at once are sent as they come; from then on they are gathered. Who cannot
// be sent because all pipelines stand still is sent alone after a while.
func TestGatheredWhenMany(t *testing.T) {
	t.Parallel()
	client := obedient(t, testserver.StartRedis(t).Addr())
	seen := watchPipelines(client)
	b := handleOn(t, client, nil)
	ids := createMany(t, b, 1)
	var wg sync.WaitGroup
	for range redis.FewCalls {
		wg.Go(func() {
			for range 50 {
				get(t, b, ids[0])
			}
		})
	}
	wg.Wait()
	count, _, _, _, single := seen.sent()
	require.Zero(t, count)
	require.Equal(t, 50*redis.FewCalls, single)

	redis.GatherAll(b)
	release := seen.hold()
	seen.fill(t, b, &wg, ids[0])
	require.Equal(t, ids[0], string(get(t, b, ids[0]).Data))
	count, _, _, _, after := seen.sent()
	require.Equal(t, redis.PipelineCount, count)
	require.Equal(t, single+1, after)
	release()
	wg.Wait()
}

// Who gives up before being sent is not sent, and leaves nothing behind.
func TestGatheredAndGivenUp(t *testing.T) {
	t.Parallel()
	client := obedient(t, testserver.StartRedis(t).Addr())
	seen := watchPipelines(client)
	b := redis.GatherAll(handleOn(t, client, nil))
	ids := createMany(t, b, 2)
	release := seen.hold()
	var held sync.WaitGroup
	seen.fill(t, b, &held, ids[0])
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			ctx, want := ctx, context.Canceled
			if i%2 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				want = context.DeadlineExceeded
			}
			if _, err := b.Get(ctx, ids[1]); err != nil { // nil: it was sent alone in the meantime
				assert.ErrorIs(t, err, want)
			}
		})
	}
	require.Eventually(t, func() bool {
		_, waiting := redis.Gathering(b)
		return waiting > 0
	}, waitLimit, waitTick)
	cancel()
	wg.Wait()
	_, waiting := redis.Gathering(b)
	require.Zero(t, waiting)
	release()
	held.Wait()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Zero(t, seen.keys[redis.RecordKey(b, ids[1])])
}

// A Get shows every change that returned before it began, though others asked for the
// same key before.
func TestGatheredGetsSeeChanges(t *testing.T) {
	t.Parallel()
	b := redis.GatherAll(openURL(t, testserver.StartRedis(t).URL()))
	id := createMany(t, b, 1)[0]
	var known atomic.Uint64
	known.Store(1)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before := known.Load()
				r, err := b.Get(testContext(t), id)
				if !assert.NoError(t, err) || !assert.GreaterOrEqual(t, r.Revision, before) {
					return
				}
			}
		})
	}
	for revision := range uint64(300) {
		require.NoError(t, b.Update(testContext(t), backend.Record{ID: id, Data: []byte(id), Revision: revision + 1}))
		known.Store(revision + 2)
	}
	close(done)
	wg.Wait()
}

// A hook of the client's that lets no pipeline through makes no answer out of it.
func TestPipelinesRefusedByHook(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]error{"with an error": errors.New("not now"), "as if it had been sent": errSent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := obedient(t, startMini(t).Addr())
			client.AddHook(pretend{})
			seen := watchPipelines(client)
			seen.refuse = refuse
			b := redis.GatherAll(handleOn(t, client, nil))
			ids := createMany(t, b, 1)
			require.Equal(t, ids[0], string(get(t, b, ids[0]).Data))
			_, err := b.Get(testContext(t), "unknown")
			require.ErrorIs(t, err, backend.ErrNotFound)
			count, _, _, _, single := seen.sent()
			require.Equal(t, 2, count)
			require.Equal(t, 2, single)
		})
	}
}

// errSent is turned into no error by pretend.
var errSent = errors.New("taken for sent")

type pretend struct{}

func (pretend) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (pretend) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }
func (pretend) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if err := next(ctx, cmds); !errors.Is(err, errSent) {
			return err
		}
		return nil
	}
}
