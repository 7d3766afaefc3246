package fleet

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// store is what a fleet shares.
type store struct {
	driver string
	url    string
	addrs  []string

	// restart takes the server away for a moment, and returns when it is back with all
	// that it acknowledged.
	restart func(t *testing.T)
	// refusePolls has the server refuse what readers ask to hear of changes. nil: their
	// channel is cut where their connections are.
	refusePolls func(on bool)
}

// down is how long a server is away.
const down = 300 * time.Millisecond

// startRedis starts a server that is killed and started again.
func startRedis(t *testing.T) store {
	server := testserver.StartRedis(t)
	return store{driver: "redis", url: server.URL(), restart: func(*testing.T) {
		server.Kill()
		time.Sleep(down)
		server.Start()
	}}
}

// startCluster starts a cluster of which one master is stopped and started again, and
// another hands over to its replica. Both keep all that was acknowledged; what a master
// loses that dies before its replica has got it is lost to the bound, too.
func startCluster(t *testing.T) store {
	c := testserver.StartCluster(t)
	const slot, another = 8000, 100
	return store{driver: "cluster", url: c.URL(), addrs: c.Addrs(), restart: func(t *testing.T) {
		master := c.MasterOf(slot)
		master.Stop()
		time.Sleep(down)
		master.Start()
		handOver(t, c, another)
		c.AwaitOK()
	}}
}

// handOver puts the replica of the master that serves a slot in its place. Both take
// care that nothing is lost, and may give up over it.
func handOver(t *testing.T, c *testserver.Cluster, slot int) {
	t.Helper()
	replicas := c.ReplicasOf(c.MasterOf(slot))
	require.Len(t, replicas, 1)
	require.Eventually(t, func() bool {
		if err := replicas[0].Client().ClusterFailover(t.Context()).Err(); err != nil {
			return false
		}
		for range 100 { // in 5 s it is given up
			if c.MasterOf(slot) == replicas[0] {
				return true
			}
			time.Sleep(50 * time.Millisecond)
		}
		return false
	}, patience, 10*time.Millisecond, "no replica takes the place of its master")
}

// startWire starts a MongoDB server within the test, behind a proxy: to the fleet it
// is gone while that refuses connections. The readers' channel is cut by refusing their
// polls: a connection that breaks is an outage of the whole client, to the library.
func startWire(t *testing.T) store {
	var refusing atomic.Bool
	faults := mongowire.NewFaults(mongowire.Memory().Handle)
	faults.Each(func(cmd mongowire.Command) bool {
		return refusing.Load() && cmd.Name == "find" && polls(cmd.Body)
	}, mongowire.Answer(mongowire.Error(50, "operation exceeded time limit")))
	proxy := testserver.StartProxy(t, mongowire.Start(t, faults.Handle).Addr())
	return store{
		driver: "mongo", url: "mongodb://" + proxy.Addr() + "/", refusePolls: refusing.Store,
		restart: func(*testing.T) {
			proxy.Refuse(true)
			time.Sleep(down)
			proxy.Refuse(false)
		},
	}
}

// startFerretDB starts a server that is killed and started again.
func startFerretDB(t *testing.T) store {
	server := testserver.StartFerretDB(t)
	return store{driver: "mongo", url: server.URL(), restart: func(*testing.T) {
		server.Kill()
		time.Sleep(down)
		server.Start()
	}}
}
