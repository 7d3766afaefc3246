package redis_test

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/conformance"
	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/redis"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t)
	t.Run("conformance", func(t *testing.T) { conformance.Run(t, openNamed(s.URL(), nil)) })
	t.Run("processes", func(t *testing.T) {
		drivertest.Processes(t, withParameter(t, s.URL(), "namespace", "processes"), 3, drivertest.Sized(50, 2000))
	})
}

// The master is killed, or stands still, while keys are made and changed, and the
// sentinels put the replica in its place. What was acknowledged and had not reached
// the replica yet may be lost; nothing else may be wrong, and the driver follows by
// itself.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	for name, how := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testserver.StartSentinel(t)
			load := drivertest.StartLoad(t, true, openAll(t, s.URL(), 4)...)
			for range drivertest.Sized(1, 20) {
				load.Await(200)
				old := s.Current()
				how.begin(old)
				s.AwaitFailover(old) // meanwhile calls fail, or go on trying for so long
				load.Await(200)
				how.end(old)
				old.AwaitSync()
				s.AwaitReady()
			}
			load.Check(openURL(t, s.URL()))
		})
	}
}

// revoked are keys of which the store has acknowledged that they are revoked.
type revoked struct {
	store  *keystore.Keystore
	ids    []string
	tokens []keystore.Token
}

func newStore(t *testing.T, rawURL string) *keystore.Keystore {
	t.Helper()
	store, err := keystore.New(openURL(t, rawURL), &keystore.Options{CacheSize: -1, TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func (r *revoked) generate(t *testing.T, n int) {
	t.Helper()
	for range n {
		token, key, err := r.store.Generate(testContext(t), keystore.KeyParams{Owner: "owner"})
		require.NoError(t, err)
		r.ids, r.tokens = append(r.ids, key.ID), append(r.tokens, token)
	}
}

// valid counts the keys that a lookup accepts. The others are revoked.
func (r *revoked) valid(t *testing.T) int {
	t.Helper()
	n := 0
	for _, token := range r.tokens {
		var err error
		require.Eventually(t, func() bool {
			_, err = r.store.Lookup(testContext(t), token.Reveal())
			return !errors.Is(err, keystore.ErrUnavailable)
		}, waitLimit, waitTick)
		if err == nil {
			n++
			continue
		}
		require.ErrorIs(t, err, keystore.ErrRevoked)
	}
	return n
}

// cutOff makes a replica stand still and the master lose its connection to it.
func cutOff(t *testing.T, s *testserver.Sentinel) {
	t.Helper()
	s.Replica.Pause()
	require.NoError(t, s.Master.Client().ClientKillByFilter(testContext(t), "TYPE", "replica").Err())
}

// failOver kills the master and lets the replica go on, which becomes the master.
func failOver(t *testing.T, s *testserver.Sentinel) {
	t.Helper()
	s.Master.Kill()
	s.Replica.Resume()
	require.Same(t, s.Replica, s.AwaitFailover(s.Master))
}

// With the default settings Redis acknowledges what no replica has. If the replica is
// cut off when the master dies, all of that is lost, and what was revoked meanwhile
// is valid again. The documentation says so; this is how it is measured. The driver
// warns of such settings when it opens.
func TestSentinelLosesRevocations(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t)
	r := &revoked{store: newStore(t, s.URL())}
	const n = 50
	r.generate(t, n)
	cache := drivertest.StartCache(t, openURL(t, s.URL()), r.ids...)
	awaitReplica(t, s.Master)
	cutOff(t, s)
	for _, id := range r.ids {
		_, err := r.store.Revoke(testContext(t), id, "leaked")
		require.NoError(t, err)
	}
	require.Zero(t, r.valid(t))
	failOver(t, s)
	lost := r.valid(t)
	t.Logf("%d of %d acknowledged revocations were lost", lost, n)
	assert.Equal(t, n, lost, "docs/redis.md says that these are lost")
	cache.Await(openURL(t, s.URL())) // what is undone is read again, too
}

// With min-replicas-to-write the master refuses what no replica can have. Nothing
// that was acknowledged is lost, and what is refused is known not to have happened.
func TestSentinelRefusesWithoutReplica(t *testing.T) {
	t.Parallel()
	s := testserver.StartSentinel(t, "min-replicas-to-write 1", "min-replicas-max-lag 10")
	r := &revoked{store: newStore(t, s.URL())}
	r.generate(t, 12)
	const first = 10
	for _, id := range r.ids[:first] {
		_, err := r.store.Revoke(testContext(t), id, "leaked")
		require.NoError(t, err)
	}
	awaitReplica(t, s.Master)
	cutOff(t, s)
	for _, id := range r.ids[first:] {
		_, err := r.store.Revoke(testContext(t), id, "leaked")
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.NotErrorIs(t, err, keystore.ErrUnknownOutcome)
	}
	require.Equal(t, len(r.ids)-first, r.valid(t), "lookups go on")
	s.Replica.Resume()
	s.Replica.AwaitSync()
	cutOff(t, s)
	failOver(t, s)
	require.Equal(t, len(r.ids)-first, r.valid(t), "none of the acknowledged ones is lost")

	// The new master has no replica yet, and refuses too; once there is one, it does not.
	s.Master.Start()
	s.Master.AwaitSync()
	for _, id := range r.ids[first:] {
		require.Eventually(t, func() bool {
			_, err := r.store.Revoke(testContext(t), id, "leaked")
			return err == nil
		}, waitLimit, waitTick)
	}
	require.Zero(t, r.valid(t))
}

// A replica that is cut off in silence counts until min-replicas-max-lag has passed:
// so long the master acknowledges what the replica does not get, and then no more.
func TestMinReplicasMaxLag(t *testing.T) {
	t.Parallel()
	master := testserver.StartRedis(t, "min-replicas-to-write 1", "min-replicas-max-lag 2")
	proxy := testserver.StartProxy(t, master.Addr())
	replica := testserver.StartRedis(t)
	host, port, err := net.SplitHostPort(proxy.Addr())
	require.NoError(t, err)
	require.NoError(t, replica.Client().ReplicaOf(testContext(t), host, port).Err())
	replica.AwaitSync()
	b := openURL(t, master.URL())
	require.Eventually(t, func() bool { return b.Create(testContext(t), record("first", "o", "d")) == nil }, waitLimit, waitTick)
	awaitReplica(t, master)
	proxy.BlackHole(true)
	lost := 0
	require.Eventually(t, func() bool {
		err := b.Create(testContext(t), record(fmt.Sprint("late-", lost), "o", "d"))
		if err == nil {
			lost++
			return false
		}
		require.ErrorIs(t, err, backend.ErrNotApplied)
		return true
	}, waitLimit, waitTick)
	t.Logf("%d changes were acknowledged before the master noticed", lost)
	require.Positive(t, lost)
	require.Equal(t, []string{"first"}, idsOf(listAll(t, asMaster(t, replica), "", 10)))
}

// asMaster makes a replica a master, and opens the store in it.
func asMaster(t *testing.T, replica *testserver.Redis) *redis.Backend {
	t.Helper()
	require.NoError(t, replica.Client().ReplicaOf(testContext(t), "NO", "ONE").Err())
	return openURL(t, replica.URL())
}
