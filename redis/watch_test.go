package redis_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// quick is a probe interval for tests that wait for what probes find.
const quick = 50 * time.Millisecond

// receive waits for id, and passes over what else comes.
func receive(t *testing.T, changes <-chan string, id string) {
	t.Helper()
	late := time.After(waitLimit)
	for {
		select {
		case got, open := <-changes:
			require.True(t, open, "the channel was closed")
			if got == id {
				return
			}
		case <-late:
			t.Fatalf("%q did not come", id)
		}
	}
}

func watch(t *testing.T, b *redis.Backend) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for start := time.Now(); ; {
		changes, err := b.Watch(ctx)
		if errors.Is(err, context.DeadlineExceeded) && time.Since(start) < waitLimit {
			continue // a machine that is busy answers no probe in as little time as tests give it
		}
		require.NoError(t, err)
		return changes
	}
}

// While nothing is wrong, nothing but ids comes, exactly those that changed, and the
// probes of watchers are nobody's changes.
func TestWatchOfAServerThatIsWell(t *testing.T) {
	t.Parallel()
	client := clientOf(t, &goredis.Options{Addr: testserver.StartRedis(t).Addr()})
	// Long enough that a busy machine answers a probe in time.
	b := handleOn(t, client, &redis.Options{ProbeInterval: time.Second})
	calls := recordCalls(client)
	changes, other := watch(t, b), watch(t, handleOn(t, client, &redis.Options{ProbeInterval: time.Second}))
	require.Eventually(t, func() bool { return len(calls.named("publish")) >= 4 }, waitLimit, waitTick)
	for i := range 50 {
		create(t, b, record(fmt.Sprintf("k%02d", i), "o", "d"))
	}
	for _, c := range []<-chan string{changes, other} {
		for i := range 50 {
			require.Equal(t, fmt.Sprintf("k%02d", i), <-c)
		}
	}
}

// A connection of the subscription that is cut, by whom ever, is replaced, and the
// watcher told that it may have missed something, after which it hears again.
func TestWatchConnectionCut(t *testing.T) {
	t.Parallel()
	s := openBroken(t)
	for name, cut := range map[string]func(){
		"by the server": func() {
			require.NoError(t, s.server.Client().ClientKillByFilter(testContext(t), "TYPE", "pubsub").Err())
		},
		"on the way":   s.proxy.CutAll,
		"by a restart": func() { s.server.Kill(); s.server.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			changes := watch(t, s.Backend)
			cut()
			receive(t, changes, "")
			hearsAgain(t, changes, s.past)
		})
	}
}

// What changes while there is no subscription is made up for by a "" once there is
// one again.
func TestWatchTellsOfAGap(t *testing.T) {
	t.Parallel()
	s := openBroken(t)
	client := clientOf(t, &goredis.Options{Addr: s.proxy.Addr(), ContextTimeoutEnabled: true, DialerRetries: 1, MaxRetries: -1})
	b := handleOn(t, client, &redis.Options{ProbeInterval: time.Minute}) // probes have no part in it
	changes := watch(t, b)
	s.proxy.Refuse(true)
	receive(t, changes, "")
	create(t, s.past, record("missed", "o", "d"))
	select {
	case id := <-changes:
		t.Fatalf("%q came from nowhere", id)
	case <-time.After(50 * time.Millisecond): // the longer, the surer
	}
	s.proxy.Refuse(false)
	receive(t, changes, "")
	create(t, s.past, record("heard", "o", "d"))
	receive(t, changes, "heard")
}

// hearsAgain makes changes until one is heard: from some moment on all are.
func hearsAgain(t *testing.T, changes <-chan string, b *redis.Backend) {
	t.Helper()
	for late := time.After(waitLimit); ; {
		id := strings.ToLower(rand.Text())
		create(t, b, record(id, "o", "d"))
		tick := time.After(100 * time.Millisecond)
		for waiting := true; waiting; {
			select {
			case got, open := <-changes:
				require.True(t, open, "the channel was closed")
				if got == id {
					return
				}
			case <-tick:
				waiting = false
			case <-late:
				t.Fatal("no change is heard any more")
			}
		}
	}
}

// twoWays is a client whose connections take one way or another, as a test says.
func twoWays(t *testing.T, direct string, other string) (*goredis.Client, *atomic.Bool) {
	t.Helper()
	var detour atomic.Bool
	return clientOf(t, &goredis.Options{
		Addr: direct, ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if detour.Load() {
				addr = other
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}), &detour
}

// A subscription that goes silent, while everything else works, is noticed by its
// probes.
func TestWatchConnectionSilent(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	for name, silence := range map[string]func(p *testserver.Proxy){
		"swallowed": func(p *testserver.Proxy) { p.BlackHole(true) },
		"half open": (*testserver.Proxy).HalfOpen,
	} {
		t.Run(name, func(t *testing.T) {
			proxy := testserver.StartProxy(t, server.Addr())
			client, detour := twoWays(t, server.Addr(), proxy.Addr())
			b := handleOn(t, client, &redis.Options{ProbeInterval: quick})
			require.NoError(t, client.Ping(testContext(t)).Err())
			detour.Store(true)
			changes := watch(t, b)
			detour.Store(false)
			silence(proxy)
			receive(t, changes, "")
			hearsAgain(t, changes, b)
		})
	}
}

// A failover shows in the replication id, even if no connection breaks, and a server
// that is a replica now in its role.
func TestWatchSeesFailovers(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	server := testserver.StartRedis(t)
	admin := server.Client()
	client := clientOf(t, &goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	b := handleOn(t, client, &redis.Options{ProbeInterval: 500 * time.Millisecond})
	calls := recordCalls(client)
	changes := watch(t, b)
	require.Eventually(t, func() bool { return len(calls.named("publish")) >= 3 }, waitLimit, waitTick)
	select {
	case id := <-changes:
		t.Logf("early: %q; the machine is busy", id)
	default:
	}
	// For a moment, between two probes, another server is the master.
	require.NoError(t, admin.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	require.NoError(t, admin.ReplicaOf(ctx, "NO", "ONE").Err())
	receive(t, changes, "")
	hearsAgain(t, changes, b)

	require.NoError(t, admin.ReplicaOf(ctx, "127.0.0.1", "1").Err())
	for range 3 { // as long as that lasts
		receive(t, changes, "")
	}
	require.NoError(t, admin.ReplicaOf(ctx, "NO", "ONE").Err())
	hearsAgain(t, changes, b)
}

// As long as nothing can be published, changes of others may be missed.
func TestWatchWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := handleOn(t, clientOf(t, &goredis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true}), &redis.Options{ProbeInterval: quick})
	changes := watch(t, b)
	server.Pause()
	for range 3 {
		receive(t, changes, "")
	}
	server.Resume()
	hearsAgain(t, changes, b)
}

func TestWatchCannotSubscribe(t *testing.T) {
	server := testserver.StartRedis(t)
	client := clientOf(t, &goredis.Options{Addr: server.Addr(), DialerRetries: 1, MaxRetries: -1})
	b := handleOn(t, client, nil)
	server.Stop()
	_, err := b.Watch(testContext(t))
	noAnswer(t, err)
	server.Start()
	aclUser(t, server.Client(), strings.Replace(aclRule, "+subscribe", "", 1))
	_, err = openURL(t, "redis://app:pw@"+server.Addr()).Watch(testContext(t))
	require.ErrorContains(t, err, "NOPERM")
	noAnswer(t, err)
}

// A reader that is slow, or gone, holds up nobody, and learns that it missed changes.
func TestWatchSlowReader(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	b := handleOn(t, client, nil)
	changes := watch(t, b)
	for i := range 3000 {
		require.NoError(t, client.Publish(testContext(t), redis.Channel("keystore"), fmt.Sprintf("id-%d", i)).Err())
	}
	receive(t, changes, "")
	require.NoError(t, client.Publish(testContext(t), redis.Channel("keystore"), "later").Err())
	receive(t, changes, "later")
}

// What no version so far publishes may be about any key.
func TestWatchMessageOfAnotherForm(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	changes := watch(t, handleOn(t, client, nil))
	for _, message := range []string{"", " ", "a:b", "{}", " a", strings.Repeat("x", 65), "a\x00"} {
		require.NoError(t, client.Publish(testContext(t), redis.Channel("keystore"), message).Err())
		require.Empty(t, <-changes)
	}
	require.NoError(t, client.Publish(testContext(t), redis.Channel("keystore"), "?another watcher's probe").Err())
	require.NoError(t, client.Publish(testContext(t), redis.Channel("keystore"), "id").Err())
	require.Equal(t, "id", <-changes)
}

func TestProbeInterval(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	for _, bad := range []time.Duration{-1, 1, 9 * time.Millisecond} {
		_, err := redis.New(client, &redis.Options{ProbeInterval: bad})
		require.ErrorContains(t, err, "ProbeInterval")
	}
}

var _ backend.Watcher = (*redis.Backend)(nil)

// On a cluster there is a subscription at each master, and a change is heard once.
func TestWatchOfACluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t, "min-replicas-to-write 1")
	client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	b := handleOn(t, client, &redis.Options{ProbeInterval: 10 * time.Second})
	changes := watch(t, b)
	for _, node := range c.Nodes {
		count, err := node.Client().PubSubNumSub(testContext(t), redis.Channel("keystore")).Result()
		require.NoError(t, err)
		want := int64(1)
		if len(c.ReplicasOf(node)) == 0 {
			want = 0 // a replica itself
		}
		require.Equal(t, want, count[redis.Channel("keystore")], node.Addr())
	}
	const n = 200
	for i := range n {
		create(t, b, record(fmt.Sprintf("k%03d", i), "o", "d"))
	}
	heard := make(map[string]int)
	for len(heard) < n {
		heard[<-changes]++
	}
	create(t, b, record("end", "o", "d"))
	for id := ""; id != "end"; id = <-changes {
		heard[id]++
	}
	for i := range n {
		require.Equal(t, 1, heard[fmt.Sprintf("k%03d", i)])
	}
}
