package redis_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// What opening logs of a server, one line each.
func openingLog(t *testing.T, rawURL string) []string {
	t.Helper()
	var log bytes.Buffer
	b, err := backend.Open(testContext(t), rawURL, &backend.OpenOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	warnings, err := b.(*redis.Backend).Warnings(testContext(t))
	if err == nil {
		for _, w := range warnings {
			assert.Contains(t, log.String(), w, "opening logs what Warnings finds")
		}
		assert.Equal(t, len(warnings), strings.Count(log.String(), "\n"), "%s", &log)
	}
	require.NoError(t, b.Close())
	var lines []string
	for line := range strings.Lines(log.String()) {
		require.Contains(t, line, "level=WARN")
		require.Contains(t, line, "package=redis")
		lines = append(lines, line)
	}
	return lines
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	set := func(r *testserver.Redis, name, value string) {
		t.Helper()
		require.NoError(t, r.Client().ConfigSet(testContext(t), name, value).Err())
	}
	warnsOf := func(url string, texts ...string) {
		t.Helper()
		lines := openingLog(t, url)
		require.Len(t, lines, len(texts))
		for i, text := range texts {
			require.Contains(t, lines[i], text)
		}
	}
	const (
		log      = "set appendonly yes"
		eviction = "set maxmemory-policy noeviction"
		replicas = "set min-replicas-to-write 1 and min-replicas-max-lag 10"
	)
	server := testserver.StartRedis(t)
	warnsOf(server.URL())
	set(server, "appendonly", "no")
	warnsOf(server.URL(), log)
	for _, policy := range []string{"allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"} {
		set(server, "maxmemory-policy", policy)
		warnsOf(server.URL(), log, eviction)
	}
	replica := testserver.StartReplica(t, server)
	warnsOf(server.URL(), log, eviction, replicas)
	set(server, "min-replicas-to-write", "1")
	warnsOf(server.URL(), log, eviction)
	set(server, "min-replicas-max-lag", "0") // which switches it off
	warnsOf(server.URL(), log, eviction, replicas)
	set(server, "min-replicas-max-lag", "10")
	set(server, "maxmemory-policy", "noeviction")
	set(server, "appendonly", "yes")
	warnsOf(server.URL())
	warnsOf(replica.URL(), "the server is a replica")
}

func TestWarningsOfACluster(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t)
	lines := openingLog(t, c.URL())
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "3 of 3 masters: the server acknowledges changes that no replica has")
	for _, node := range c.Nodes {
		require.NoError(t, node.Client().ConfigSet(testContext(t), "min-replicas-to-write", "1").Err())
	}
	require.Empty(t, openingLog(t, c.URL()))
	require.NoError(t, c.Nodes[1].Client().ConfigSet(testContext(t), "appendonly", "no").Err())
	lines = openingLog(t, c.URL())
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "1 of 3 masters: the server keeps no append-only file")
}

// A server that may not be asked, or that does not say, is told of once.
func TestWarningsThatCannotBe(t *testing.T) {
	server := testserver.StartRedis(t)
	aclUser(t, server.Client(), strings.Replace(aclRule, "+info", "", 1))
	lines := openingLog(t, "redis://app:pw@"+server.Addr())
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "it could not be checked")
	require.Contains(t, lines[0], "lacks a permission")

	lines = openingLog(t, "redis://"+miniOptions(t).Addr)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "it could not be checked")
	require.Contains(t, lines[0], "INFO does not tell")
}
