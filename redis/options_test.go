package redis_test

import (
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // to see that the mode refuses it
	"fmt"
	"os"
	"os/exec"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

// Clients with which a key that was revoked could seem valid, an outage like a key
// that does not exist, or a write happen twice, are refused where that can be seen.
func TestNewRefusesClients(t *testing.T) {
	addr := miniOptions(t).Addr
	ap, err := clientOf(t, &goredis.Options{Addr: addr}).AutoPipeline()
	require.NoError(t, err)
	for name, client := range map[string]goredis.UniversalClient{
		"nil":              nil,
		"nil client":       (*goredis.Client)(nil),
		"nil cluster":      (*goredis.ClusterClient)(nil),
		"read only":        goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{addr}, ReadOnly: true}),
		"by latency":       goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{addr}, RouteByLatency: true}),
		"randomly":         goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{addr}, RouteRandomly: true}),
		"failover cluster": goredis.NewFailoverClusterClient(&goredis.FailoverOptions{SentinelAddrs: []string{addr}, MasterName: "m", ReplicaOnly: true}),
		"universal":        goredis.NewUniversalClient(&goredis.UniversalOptions{Addrs: []string{addr, addr}, RouteRandomly: true}),
		"ring":             goredis.NewRing(&goredis.RingOptions{Addrs: map[string]string{"a": addr}}),
		"pipelining":       ap,
		"cache":            goredis.NewClient(&goredis.Options{Addr: addr, ClientSideCacheConfig: &goredis.ClientSideCacheConfig{}}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := redis.New(client, nil)
			require.ErrorContains(t, err, "redis: New of a")
			switch c := client.(type) {
			case *goredis.Ring:
				require.NoError(t, c.Close())
			case *goredis.ClusterClient:
				if c != nil {
					require.NoError(t, c.Close())
				}
			case *goredis.Client:
				if c != nil {
					require.NoError(t, c.Close())
				}
			}
		})
	}
}

// fipsVariable marks the process that runs in FIPS 140-3 mode.
const fipsVariable = "KEYSTORE_TEST_REDIS_FIPS"

// TestFIPS runs itself in a process that allows nothing but approved algorithms,
// which SHA-1 is not, though servers name scripts by it.
func TestFIPS(t *testing.T) {
	if os.Getenv(fipsVariable) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFIPS$", "-test.v")
		child.Env = append(os.Environ(), fipsVariable+"=1", "GODEBUG=fips140=only", "FIPS_ADDR="+testserver.StartRedis(t).Addr())
		output, err := child.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "a life under FIPS", "the child did something")
		return
	}
	require.True(t, fips140.Enforced())
	require.Panics(t, func() { sha1.Sum(nil) }, "the mode has no effect")
	b := openURL(t, "redis://"+os.Getenv("FIPS_ADDR"))
	useAll(t, b)
	require.NoError(t, redis.Client(b).ScriptFlush(testContext(t)).Err())
	ks := newKeystore(t, b)
	token, key, err := ks.Generate(testContext(t), keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	_, err = ks.Lookup(testContext(t), token.Reveal())
	require.NoError(t, err)
	_, err = ks.Revoke(testContext(t), key.ID, "over")
	require.NoError(t, err)
	_, err = ks.Lookup(testContext(t), token.Reveal())
	require.ErrorIs(t, err, keystore.ErrRevoked)
	fmt.Println("a life under FIPS")
}
