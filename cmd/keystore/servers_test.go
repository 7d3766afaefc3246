package main

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
)

// TestCopyThroughEveryDriver takes keys on a tour of all stores and back.
func TestCopyThroughEveryDriver(t *testing.T) {
	mongoURL := testserver.MongoCollection(t, "copy")
	sentinel := testserver.StartSentinel(t)
	first := "badger://" + slashed(filepath.Join(t.TempDir(), "first")) + "?sync=0"
	u := newTool(t, first)
	id, token := u.generate(t, "--scope", "orders:*", "--metadata", "a.b=$x")
	gone, revoked := u.generate(t)
	u.must(t, "revoke", gone)
	want := u.must(t, "list", "--json")
	at := first
	for _, next := range []string{
		redisNamespace(t),
		sentinel.URL(),
		mongoURL,
		testserver.StartCluster(t).URL(),
		"badger://" + slashed(filepath.Join(t.TempDir(), "last")) + "?sync=0",
	} {
		u.env = map[string]string{"KEYSTORE_COPY_FROM": at, "KEYSTORE_COPY_TO": next}
		r := u.run("copy", "--verify", "--json")
		require.Zero(t, r.code, r.errOut)
		require.Contains(t, r.out, `"created":2,`)
		require.Contains(t, r.out, `{"same":2,`)
		for line := range strings.Lines(r.errOut) {
			require.True(t, strings.HasPrefix(line, `{"level":"WARN","msg":"`) && strings.Contains(line, "the server"), line) // of its settings
		}
		u.env, at = map[string]string{"KEYSTORE_URL": next}, next
		require.Equal(t, withoutRevisions(want), withoutRevisions(u.must(t, "list", "--json")))
		u.stdin = token
		require.Contains(t, u.must(t, "lookup", "--scope", "orders:read"), id)
		u.stdin = revoked
		require.Equal(t, int(statusUnauthenticated), u.run("lookup").code)
	}
}

// redisNamespace is the URL of a store of the test's own, which it empties: the
// server may be one of the user's.
func redisNamespace(t *testing.T) string {
	storeURL := testserver.WithParameter(testserver.RedisURL(t), "namespace", "copy-"+rand.Text()[:8])
	t.Cleanup(func() {
		b, err := backend.Open(context.Background(), storeURL, nil)
		require.NoError(t, err)
		defer b.Close()
		page, err := b.List(context.Background(), backend.ListOptions{Limit: backend.MaxLimit})
		require.NoError(t, err)
		for _, r := range page {
			require.NoError(t, b.Delete(context.Background(), r.ID))
		}
		later := time.Now().AddDate(2, 0, 0)
		_, err = b.(backend.Counter).PurgeCounts(context.Background(), later, backend.MaxLimit)
		require.NoError(t, err)
		_, err = b.(backend.Meter).PurgeUsage(context.Background(), later, backend.MaxLimit)
		require.NoError(t, err)
	})
	return storeURL
}

func withoutRevisions(list string) string {
	return strings.ReplaceAll(list, `"revision":2}`, `"revision":1}`)
}

// A server that is not there, or that does not let the tool in, is no mistake of
// the command line.
func TestServersThatCannotBeUsed(t *testing.T) {
	locked := testserver.StartRedis(t, "requirepass hunter2")
	for url, says := range map[string]string{
		"redis://127.0.0.1:1/0":               "refused",
		"redis+cluster://127.0.0.1:1":         "refused",
		"redis://" + locked.Addr() + "/0":     "the user or the password",
		"redis://:x@" + locked.Addr() + "/0":  "the user or the password",
		"mongodb://127.0.0.1:1/":              "refused",
		"redis+sentinel://127.0.0.1:1/master": "sentinel",
	} {
		commands := [][]string{{"list"}, {"generate", "--owner", "a"}, {"backup", "-"}, {"copy", url, "memory://"}, {"copy", "memory://", url}}
		if strings.HasPrefix(url, "mongodb") {
			commands = commands[3:4] // its client waits 3 s for a server
		}
		for _, args := range commands {
			r := newTool(t, url).run(append(args, "--json")...)
			require.Equal(t, int(statusUnavailable), r.code, "%s %v: %s", url, args, r.errOut)
			require.Contains(t, r.errOut, says)
			require.Equal(t, 1, strings.Count(r.errOut, "\n"), r.errOut)
			require.NotContains(t, r.errOut, "hunter2")
		}
	}
	server := testserver.RedisURL(t)
	require.Equal(t, int(statusUsage), newTool(t, server+"?namespace=new").run("backup", "-").code, "it has no backup of its own")
	require.Zero(t, newTool(t, server+"?namespace=new").run("list").code, "a namespace without keys is an empty store")
}
