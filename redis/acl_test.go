package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// aclRule is what docs/redis.md says that a user needs.
const aclRule = "resetkeys ~{keystore:* resetchannels &keystore:changes -@all " +
	"+get +zrangebylex +zrangebyscore +eval +evalsha " +
	"+set +exists +del +getrange +setrange +zadd +zrem " +
	"+publish +subscribe +ping +info"

// aclOfClusters is what a user of a cluster needs besides.
const aclOfClusters = "+cluster|slots"

func aclUser(t testing.TB, admin *goredis.Client, rule string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", "app", "reset", "on", ">pw"}
	for _, r := range strings.Fields(rule) {
		args = append(args, r)
	}
	require.NoError(t, admin.Do(testContext(t), args...).Err())
}

// denied is what the server refused to anybody, by its ACL LOG.
func denied(t testing.TB, admin *goredis.Client) []string {
	t.Helper()
	entries, err := admin.ACLLog(testContext(t), 100).Result()
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Reason+" "+e.Object)
	}
	return all
}

// A user with the documented rule can do everything, and is denied nothing on the
// way.
func TestACL(t *testing.T) {
	server := testserver.StartRedis(t)
	aclUser(t, server.Client(), aclRule)
	b := openURL(t, "redis://app:pw@"+server.Addr())
	useAll(t, b)
	require.Empty(t, denied(t, server.Client()))
	_, err := b.Warnings(testContext(t))
	require.NoError(t, err)

	// Another database needs one more.
	_, err = backend.Open(testContext(t), "redis://app:pw@"+server.Addr()+"/1", nil)
	require.ErrorContains(t, err, "lacks a permission")
	aclUser(t, server.Client(), aclRule+" +select")
	useAll(t, openURL(t, "redis://app:pw@"+server.Addr()+"/1"))

	// It is no more than that: another namespace and another command are refused.
	other := handleOn(t, redis.Client(b), &redis.Options{Namespace: "keystore2"})
	require.ErrorContains(t, other.Create(testContext(t), record("id", "o", "d")), "NOPERM")
	require.ErrorContains(t, redis.Client(b).FlushAll(testContext(t)).Err(), "NOPERM")
}

// useAll calls every method such that every command of every script is used.
func useAll(t *testing.T, b *redis.Backend) {
	t.Helper()
	ctx := testContext(t)
	changes, err := b.Watch(ctx)
	require.NoError(t, err)
	at := time.UnixMilli(1000).UTC()
	create(t, b, backend.Record{ID: "a", Owner: "o", PurgeAt: at}, backend.Record{ID: "b", Owner: "o", PurgeAt: at}, record("c", "o", "d"))
	require.NoError(t, b.Update(ctx, backend.Record{ID: "a", Revision: 1}))
	require.NoError(t, b.Update(ctx, backend.Record{ID: "a", Revision: 2, PurgeAt: at}))
	require.NoError(t, b.Touch(ctx, map[string]time.Time{"a": at}))
	require.Len(t, listAll(t, b, "o", 10), 3)
	require.Len(t, listAll(t, b, "", 10), 3)
	n, err := b.Purge(ctx, at, 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for i := range uint64(2) {
		spent, err := b.Spend(ctx, spendOf("c", i, 1))
		require.NoError(t, err)
		require.True(t, spent.OK)
		require.NoError(t, b.AddUsage(ctx, []backend.Addition{addition("kc", i, 1)}))
	}
	denied := spendOf("c", 2, 1)
	denied.Windows[0].Max = 2
	spent, err := b.Spend(ctx, denied)
	require.NoError(t, err)
	require.False(t, spent.OK)
	counts, err := b.Counts(ctx, "c", denied.Windows)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 2}, counts)
	tallies, err := b.Usage(ctx, "kc", today, today.AddDate(1, 0, 0))
	require.NoError(t, err)
	require.Len(t, tallies, 1)
	for _, purge := range []func(context.Context, time.Time, int) (int, error){b.PurgeCounts, b.PurgeUsage} {
		n, err := purge(ctx, today.AddDate(1, 0, 0), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	require.NoError(t, b.ResetCounts(ctx, "c"))
	require.NoError(t, b.Delete(ctx, "c"))
	_, err = b.Get(ctx, "c")
	require.ErrorIs(t, err, backend.ErrNotFound)
	heard := make(map[string]bool)
	for len(heard) < 3 {
		id := <-changes
		require.NotEmpty(t, id)
		heard[id] = true
	}
}

// The same on a cluster, where go-redis asks for more.
func TestACLOnCluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	for _, node := range c.Nodes {
		aclUser(t, node.Client(), aclRule+" "+aclOfClusters)
	}
	b := openURL(t, strings.Replace(c.URL(), "://", "://app:pw@", 1))
	useAll(t, b)
	for _, node := range c.Nodes {
		require.Empty(t, denied(t, node.Client()))
	}
}

// Each part of the rule is needed. Without it what fails says so, no write that
// failed has changed a record, and what was denied works once it is granted.
func TestEveryPermissionIsNeeded(t *testing.T) {
	server := testserver.StartRedis(t)
	admin := server.Client()
	ctx := testContext(t)
	for _, without := range strings.Fields(aclRule) {
		if without == "resetkeys" || without == "resetchannels" || without == "-@all" {
			continue
		}
		t.Run(without, func(t *testing.T) {
			require.NoError(t, admin.FlushAll(ctx).Err())
			aclUser(t, admin, aclRule)
			b := openURL(t, "redis://app:pw@"+server.Addr())
			at := time.UnixMilli(1000).UTC()
			there := backend.Record{ID: "there", Owner: "alice", Data: []byte("d"), PurgeAt: at}
			create(t, b, there)
			there.Revision = 1
			aclUser(t, admin, strings.Replace(aclRule, without, "", 1))
			require.NoError(t, admin.ScriptFlush(ctx).Err())
			require.NoError(t, admin.Do(ctx, "ACL", "LOG", "RESET").Err())

			b2, err := backend.Open(ctx, "redis://app:pw@"+server.Addr(), nil)
			failures := 0
			if err == nil {
				t.Cleanup(func() { require.NoError(t, b2.Close()) })
			} else {
				require.ErrorContains(t, err, "lacks a permission")
				failures++
			}
			past := handleOn(t, admin, nil)
			for _, m := range methods(b) {
				if m.name == "Purge" {
					m.call = func(ctx context.Context) error {
						_, err := b.Purge(ctx, at, 10)
						return err
					}
				}
				err := m.call(ctx)
				if err == nil {
					_ = past.Delete(ctx, "there")
					_ = past.Delete(ctx, "new")
					there.Revision = 0
					create(t, past, there)
					there.Revision = 1
					continue
				}
				failures++
				noAnswer(t, err)
				require.Equal(t, "NOPERM", redis.Code(err), "%s: %v", m.name, err)
				if m.writes && !m.inChunks() {
					require.ErrorIs(t, err, backend.ErrNotApplied, m.name)
				}
				if m.name != "Purge" { // which may have deleted it
					got, err := past.Get(ctx, "there")
					require.NoError(t, err, m.name)
					require.Equal(t, there, got, m.name)
					_, err = past.Get(ctx, "new")
					require.ErrorIs(t, err, backend.ErrNotFound, m.name)
					for _, owner := range []string{"", "alice"} {
						require.Equal(t, []string{"there"}, idsOf(listAll(t, past, owner, 10)), m.name)
					}
					require.Equal(t, float64(at.UnixMilli()), admin.ZScore(ctx, redis.Names("keystore")[redis.ShardOf("there")].Purge, "there").Val(), m.name)
				}
			}
			assert.Positive(t, failures, "nothing needs it")
			aclUser(t, admin, aclRule)
			require.NoError(t, b.Delete(ctx, "there"))
			require.NoError(t, b.Create(ctx, record("there", "alice", "d")))
			require.Equal(t, []string{"there"}, idsOf(listAll(t, b, "alice", 10)))
		})
	}
}
