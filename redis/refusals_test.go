package redis_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// A server that refuses changes, for whatever reason, has not made them: the driver
// says so, and once the reason is gone all works again.
func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(t *testing.T, admin *goredis.Client) {
		return func(t *testing.T, admin *goredis.Client) {
			require.NoError(t, admin.ConfigSet(testContext(t), name, value).Err())
		}
	}
	for name, c := range map[string]struct {
		text          string // in the error
		refuse, allow func(t *testing.T, admin *goredis.Client)
		deletes       bool // are made all the same
	}{
		"maxmemory":        {"OOM", set("maxmemory", "1"), set("maxmemory", "0"), true},
		"too few replicas": {"NOREPLICAS", set("min-replicas-to-write", "1"), set("min-replicas-to-write", "0"), false},
		"a replica": {"READONLY", func(t *testing.T, admin *goredis.Client) {
			require.NoError(t, admin.ReplicaOf(testContext(t), "127.0.0.1", "1").Err())
		}, func(t *testing.T, admin *goredis.Client) {
			require.NoError(t, admin.ReplicaOf(testContext(t), "NO", "ONE").Err())
		}, false},
		"a snapshot that failed": {"MISCONF", func(t *testing.T, admin *goredis.Client) {
			ctx := testContext(t)
			require.NoError(t, admin.ConfigSet(ctx, "save", "3600 1").Err())
			file := filepath.Join(admin.ConfigGet(ctx, "dir").Val()["dir"], "no.rdb")
			require.NoError(t, os.Mkdir(file, 0o700)) // which no file replaces
			require.NoError(t, admin.Set(ctx, "x", "x", 0).Err())
			require.NoError(t, admin.BgSave(ctx).Err())
			require.Eventually(t, func() bool {
				return strings.Contains(admin.Info(ctx, "persistence").Val(), "rdb_last_bgsave_status:err")
			}, waitLimit, waitTick)
		}, set("save", ""), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, "dbfilename no.rdb")
			b := openURL(t, server.URL())
			there := record("there", "alice", "d")
			create(t, b, there)
			there.Revision = 1
			c.refuse(t, server.Client())
			t.Run("refused", func(t *testing.T) {
				for _, m := range methods(b) {
					if !m.writes || c.deletes && (m.name == "Delete" || m.name == "ResetCounts") {
						continue
					}
					t.Run(m.name, func(t *testing.T) {
						t.Parallel()
						err := m.call(testContext(t))
						noAnswer(t, err)
						require.ErrorContains(t, err, c.text)
						if !m.inChunks() {
							require.ErrorIs(t, err, backend.ErrNotApplied)
						}
						require.Equal(t, there, get(t, b, "there"))
						require.Equal(t, []string{"there"}, idsOf(listAll(t, b, "", 10)))
					})
				}
			})
			// Allowed while the driver retries.
			failed := make(chan error, 1)
			go func() {
				failed <- b.Update(testContext(t), backend.Record{ID: "there", Revision: 1, Data: []byte("new")})
			}()
			c.allow(t, server.Client())
			if err := <-failed; err != nil { // it may have been refused for good
				require.ErrorIs(t, err, backend.ErrNotApplied)
				require.NoError(t, b.Update(testContext(t), backend.Record{ID: "there", Revision: 1, Data: []byte("new")}))
			}
			require.NoError(t, b.Delete(testContext(t), "there"))
		})
	}
}

// What may pass is tried again while the caller waits, and so a change that comes
// amid a failover succeeds.
func TestRetriesUntilAllowed(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	b := openURL(t, server.URL())
	client := redis.Client(b).(*goredis.Client)
	calls := recordCalls(client)
	ctx := testContext(t)
	create(t, b, record("there", "alice", "d"))
	require.NoError(t, server.Client().ConfigSet(ctx, "min-replicas-to-write", "1").Err())
	done := make(chan error, 1)
	calls.forget()
	go func() { done <- b.Update(ctx, backend.Record{ID: "there", Revision: 1, Data: []byte("new")}) }()
	require.Eventually(t, func() bool { return len(calls.named("evalsha")) > 2 }, waitLimit, waitTick)
	require.NoError(t, server.Client().ConfigSet(ctx, "min-replicas-to-write", "0").Err())
	require.NoError(t, <-done)
}

// Between two attempts nothing is under way: a context that ends then leaves no doubt.
func TestContextEndsBetweenAttempts(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t, "min-replicas-to-write 1")
	b := openURL(t, server.URL())
	calls := recordCalls(redis.Client(b))
	for range 20 {
		calls.forget()
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() { done <- b.Create(ctx, record("id", "o", "d")) }()
		require.Eventually(t, func() bool { return len(calls.named("evalsha")) > 5 }, waitLimit, waitTick)
		cancel() // most likely in the quarter of a second before the next attempt
		err := <-done
		noAnswer(t, err)
		require.ErrorIs(t, err, context.Canceled)
		if errors.Is(err, backend.ErrNotApplied) {
			return
		}
	}
	t.Fatal("the outcome was never known")
}

// A server that refuses connections, since the password was changed, has no empty
// store: each call fails, also where commands go in pipelines, of which go-redis shows
// nothing in the commands.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	for name, gather := range map[string]func(*redis.Backend) *redis.Backend{
		"one by one": func(b *redis.Backend) *redis.Backend { return b },
		"gathered":   redis.GatherAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			admin := server.Client()
			aclUser(t, admin, "~* &* +@all")
			b := gather(openURL(t, "redis://app:pw@"+server.Addr()))
			create(t, b, record("there", "alice", "d"))
			require.NoError(t, admin.Do(testContext(t), "ACL", "SETUSER", "app", "resetpass", ">other").Err())
			require.NoError(t, admin.Do(testContext(t), "CLIENT", "KILL", "USER", "app").Err())
			for _, m := range methods(b) {
				err := m.call(testContext(t))
				require.ErrorIs(t, err, redis.ErrAuth, m.name)
				noAnswer(t, err)
				if m.writes && !m.inChunks() {
					require.ErrorIs(t, err, backend.ErrNotApplied, m.name)
				}
			}
			aclUser(t, admin, "~* &* +@all")
			require.Equal(t, []string{"there"}, idsOf(listAll(t, b, "", 10)))
		})
	}
}
