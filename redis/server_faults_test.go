package redis_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
)

// aboutRecords matches requests of the driver, as opposed to those with which
// a connection begins.
func aboutRecords(request []byte) bool {
	for _, name := range []string{"evalsha", "eval", "get", "zrangebylex", "zrangebyscore"} {
		if bytes.Contains(request, []byte("\r\n"+name+"\r\n")) {
			return true
		}
	}
	return false
}

// Whatever request of an operation is lost, or its reply, the keystore tells the
// truth about what happened.
func TestOperationsWithLosses(t *testing.T) {
	t.Parallel()
	server := testserver.StartRedis(t)
	drivertest.Operations(t, func(t *testing.T) drivertest.Target {
		name := "n" + t.Name()[len("TestOperationsWithLosses/"):]
		proxy := testserver.StartProxy(t, server.Addr())
		return drivertest.Target{
			Proxy:  proxy,
			Broken: openURL(t, withParameter(t, "redis://"+proxy.Addr(), "namespace", name)),
			Sound:  openURL(t, withParameter(t, server.URL(), "namespace", name)),
			Match:  aboutRecords,
		}
	})
}

// A server that is killed comes back with what it has acknowledged if it is told to
// write that to the disk first. With appendfsync everysec, Redis's default, it holds
// it back for up to 2 s while the disk is busy, so that no power failure is needed to
// lose it: what is lost is counted, and nothing else may be wrong.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	for policy, lossy := range map[string]bool{"always": false, "everysec": true} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t, "appendfsync "+policy)
			load := drivertest.StartLoad(t, lossy, openAll(t, server.URL(), 4)...)
			for range drivertest.Sized(3, 100) {
				load.Await(drivertest.Sized(300, 3000))
				server.Kill()
				server.Start()
			}
			load.Check(openURL(t, server.URL()))
		})
	}
}

// While keys are made and changed the server forgets its scripts, loses connections,
// requests and replies, stands still, and ends and comes back. No acknowledged change
// is lost, since each is in the append-only file, and none happens twice.
func TestLoadWithFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(t *testing.T, server *testserver.Redis, proxy *testserver.Proxy, load *drivertest.Load)
		felt  bool // by those who call
	}{
		"nothing": {func(*testing.T, *testserver.Redis, *testserver.Proxy, *drivertest.Load) {}, false},
		"SCRIPT FLUSH": {func(t *testing.T, server *testserver.Redis, _ *testserver.Proxy, load *drivertest.Load) {
			for range 30 {
				require.NoError(t, server.Client().ScriptFlush(testContext(t)).Err())
				load.Await(5)
			}
		}, false},
		"requests and replies lost": {func(t *testing.T, _ *testserver.Redis, proxy *testserver.Proxy, load *drivertest.Load) {
			faults := []testserver.Fault{testserver.CutBefore, testserver.CutRequest, testserver.DropReply, testserver.CutReply, testserver.HangReply}
			proxy.SetPlan(func(request []byte) testserver.Fault {
				if !aboutRecords(request) || rand.IntN(20) > 0 {
					return testserver.Pass
				}
				return faults[rand.IntN(len(faults))]
			})
			for range drivertest.Sized(1, 50) {
				load.Await(300)
			}
			proxy.SetPlan(nil)
			for _, f := range faults {
				require.Positive(t, proxy.Count(f))
			}
		}, false},
		"connections cut": {func(t *testing.T, _ *testserver.Redis, proxy *testserver.Proxy, load *drivertest.Load) {
			for range drivertest.Sized(20, 500) {
				proxy.CutAll()
				load.Await(10)
			}
		}, false},
		"killed": {func(t *testing.T, server *testserver.Redis, _ *testserver.Proxy, load *drivertest.Load) {
			for range drivertest.Sized(2, 50) {
				server.Kill()
				load.AwaitFailures(2)
				server.Start()
				load.Await(50)
			}
		}, true},
		"stopped": {func(t *testing.T, server *testserver.Redis, _ *testserver.Proxy, load *drivertest.Load) {
			for range drivertest.Sized(2, 50) {
				server.Stop()
				load.AwaitFailures(2)
				server.Start()
				load.Await(50)
			}
		}, true},
		"killed and back at once": {func(t *testing.T, server *testserver.Redis, _ *testserver.Proxy, load *drivertest.Load) {
			for range drivertest.Sized(5, 100) {
				server.Kill()
				server.Start()
				load.Await(50)
			}
		}, false},
		"standing still": {func(t *testing.T, server *testserver.Redis, _ *testserver.Proxy, load *drivertest.Load) {
			for range drivertest.Sized(1, 20) {
				server.Pause()
				load.AwaitFailures(2)
				server.Resume()
				load.Await(50)
			}
		}, true},
		"slower than the client waits": {func(t *testing.T, _ *testserver.Redis, proxy *testserver.Proxy, load *drivertest.Load) {
			proxy.Delay(1100 * time.Millisecond)
			load.AwaitFailures(4)
			proxy.Delay(0)
		}, true},
		"unreachable": {func(t *testing.T, _ *testserver.Redis, proxy *testserver.Proxy, load *drivertest.Load) {
			for _, broken := range []func(bool){proxy.Refuse, proxy.BlackHole} {
				broken(true)
				load.AwaitFailures(2)
				broken(false)
				load.Await(50)
			}
			proxy.HalfOpen()
			load.Await(50)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.StartRedis(t)
			proxy := testserver.StartProxy(t, server.Addr())
			load := drivertest.StartLoad(t, false, openAll(t, "redis://"+proxy.Addr(), 4)...)
			load.Await(50)
			c.fault(t, server, proxy, load)
			load.Await(50)
			tally := load.Check(openURL(t, server.URL()))
			require.Zero(t, tally.Losses())
			if c.felt {
				require.Positive(t, tally.Outages+tally.Refused+tally.Unknown)
			}
		})
	}
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	url := testserver.StartRedis(t).URL()
	drivertest.Processes(t, url, 3, drivertest.Sized(100, 5000))
}
