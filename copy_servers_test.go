package keystore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/memory"
	_ "example.com/keystore/redis"
)

func init() { logging.Disable() } // go-redis tells standard error of each connection that these tests break

// manyKeys makes a store of keys in all states, used ones among them.
func manyKeys(t *testing.T, n int) backend.Backend {
	store := memory.New()
	ks := newStoreOn(t, store, keystore.Options{})
	used := map[string]time.Time{}
	for i := range n {
		_, key := generate(t, ks)
		switch i % 4 {
		case 1:
			_, err := ks.Revoke(t.Context(), key.ID, "why")
			require.NoError(t, err)
		case 2:
			_, err := ks.Expire(t.Context(), key.ID, time.Now().Add(time.Hour))
			require.NoError(t, err)
		case 3:
			used[key.ID] = time.UnixMilli(int64(i)).UTC()
		}
	}
	require.NoError(t, store.Touch(t.Context(), used))
	return store
}

func openByURL(t *testing.T, url string) backend.Backend {
	t.Helper()
	b, err := backend.Open(t.Context(), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// copyUntilDone goes on where the last copy stopped, as an operator would, and
// returns how often it had to.
func copyUntilDone(t *testing.T, from, to backend.Backend) (interruptions int) {
	t.Helper()
	o := keystore.InPages(20)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		result, err := keystore.Copy(ctx, from, to, o)
		cancel()
		if err == nil {
			return interruptions
		}
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.GreaterOrEqual(t, result.Last, o.After)
		o.After = result.Last
		interruptions++
		require.Less(t, interruptions, 200)
	}
}

func requireSame(t *testing.T, from, to backend.Backend, keys int) {
	t.Helper()
	result, err := keystore.Compare(t.Context(), from, to, nil)
	require.NoError(t, err)
	require.Equal(t, keystore.CompareResult{Same: int64(keys)}, result)
	requireCopied(t, from, to) // each was created once, and never updated
}

// TestCopyToRedisOverALineThatBreaks loses requests and replies, whole and in part.
func TestCopyToRedisOverALineThatBreaks(t *testing.T) {
	const keys = 400
	server := testserver.StartRedis(t)
	line := testserver.StartProxy(t, server.Addr())
	from, to := manyKeys(t, keys), openByURL(t, "redis://"+line.Addr()+"/0")
	random := rand.New(rand.NewPCG(testSeed(t), 0))
	line.SetPlan(func([]byte) testserver.Fault {
		if random.IntN(8) > 0 {
			return testserver.Pass
		}
		return []testserver.Fault{testserver.CutBefore, testserver.CutRequest, testserver.DropReply, testserver.CutReply}[random.IntN(4)]
	})
	interruptions := copyUntilDone(t, from, to)
	line.SetPlan(nil)
	requireSame(t, from, openByURL(t, server.URL()), keys)
	t.Logf("%d replies lost, %d requests cut, %d copies interrupted", line.Dropped(), line.Count(testserver.CutBefore)+line.Count(testserver.CutRequest), interruptions)
	require.Greater(t, line.Dropped(), 5)
}

// TestCopyToRedisThatIsKilled ends the server amid a copy, several times.
func TestCopyToRedisThatIsKilled(t *testing.T) {
	const keys = 400
	server := testserver.StartRedis(t)
	from, to := manyKeys(t, keys), openByURL(t, server.URL())
	for _, after := range []int64{20, 240} {
		killed := false
		o := keystore.InPages(20)
		o.OpTimeout = time.Second
		o.Progress = func(r keystore.CopyResult) {
			if r.Read == after {
				server.Kill()
				killed = true
			}
		}
		for !killed { // the first calls after a restart may meet old connections
			_, err := keystore.Copy(t.Context(), from, to, o)
			require.ErrorIs(t, err, keystore.ErrUnavailable)
		}
		server.Start()
	}
	copyUntilDone(t, from, to)
	requireSame(t, from, to, keys)
}

// TestCopyToAClusterWhoseMasterFails moves on to the replica. With the settings
// here, what was acknowledged is there too.
func TestCopyToAClusterWhoseMasterFails(t *testing.T) {
	const keys = 400
	cluster := testserver.StartCluster(t, "min-replicas-to-write 1", "min-replicas-max-lag 10")
	from, to := manyKeys(t, keys), openByURL(t, cluster.URL())
	var killed *testserver.Redis
	o := keystore.InPages(20)
	o.Progress = func(r keystore.CopyResult) {
		if killed == nil && r.Read > 100 {
			killed = cluster.MasterOf(0)
			killed.Kill()
		}
	}
	_, err := keystore.Copy(t.Context(), from, to, o)
	require.True(t, err == nil || isAny(err, keystore.ErrUnavailable), "%v", err)
	require.NotNil(t, killed)
	killed.Start() // as its replica: the shard accepts changes again
	cluster.AwaitOK()
	copyUntilDone(t, from, to)
	result, err := keystore.Compare(t.Context(), from, to, nil)
	require.NoError(t, err)
	require.Equal(t, keystore.CompareResult{Same: keys}, result, fmt.Sprint(result.Differences))
}
