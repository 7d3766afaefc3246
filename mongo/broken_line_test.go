package mongo_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

	"example.com/keystore/backend"
	"example.com/keystore/internal/drivertest"
	"example.com/keystore/internal/testserver"
	"example.com/keystore/internal/testserver/mongowire"
)

// aboutRecords tells the commands of this package from those by which the client
// library looks after its connections. The name of an OP_MSG's command stands
// behind its header, its flags and the beginning of its document.
func aboutRecords(request []byte) bool {
	const name = 16 + 4 + 1 + 4 + 1
	if len(request) < name {
		return false
	}
	for _, command := range []string{"update", "find", "findAndModify", "delete", "getMore"} {
		if bytes.HasPrefix(request[name:], []byte(command+"\x00")) {
			return true
		}
	}
	return false
}

func TestOperations(t *testing.T) {
	t.Parallel()
	t.Run("wire", func(t *testing.T) {
		t.Parallel()
		drivertest.Operations(t, func(t *testing.T) drivertest.Target {
			w := startWire(t)
			return brokenLine(t, w.Addr(), w.URL(), "test")
		})
	})
	t.Run("FerretDB", func(t *testing.T) {
		t.Parallel()
		server := testserver.StartFerretDB(t)
		var stores atomic.Int32
		drivertest.Operations(t, func(t *testing.T) drivertest.Target {
			return brokenLine(t, server.Addr(), server.URL(), fmt.Sprint("store", stores.Add(1)))
		})
	})
}

func brokenLine(t *testing.T, addr, url, database string) drivertest.Target {
	t.Helper()
	p := testserver.StartProxy(t, addr)
	return drivertest.Target{
		Proxy: p, Match: aboutRecords,
		Sound:  newBackend(t, connect(t, url).Database(database).Collection("keys"), nil),
		Broken: newBackend(t, connect(t, "mongodb://"+p.Addr()+"/").Database(database).Collection("keys"), nil),
	}
}

// On the server in this process, which is atomic, the processes race for real.
func TestProcesses(t *testing.T) {
	t.Parallel()
	t.Run("wire", func(t *testing.T) {
		t.Parallel()
		drivertest.Processes(t, startWire(t, mongowire.Primary).URL(), 3, drivertest.Sized(20, 200))
	})
	t.Run("FerretDB", func(t *testing.T) {
		t.Parallel()
		drivertest.Processes(t, testserver.StartFerretDB(t).URL(), 3, drivertest.Sized(10, 100))
	})
}

// Keys are made and changed while the server is killed, stopped, frozen and
// started again, and while the line to it is cut, dead and silent. The client
// library is a fresh one for each handle, as in as many processes.
func TestLoad(t *testing.T) {
	t.Parallel()
	t.Run("FerretDB", func(t *testing.T) {
		t.Parallel()
		server := testserver.StartFerretDB(t)
		p := testserver.StartProxy(t, server.Addr())
		load, sound := startLoad(t, p, server.URL())
		for range drivertest.Sized(1, 10) {
			for _, outage := range []struct{ begin, end func() }{
				{server.Kill, server.Start},
				{server.Stop, server.Start},
				{server.Pause, server.Resume},
				{func() { p.Refuse(true) }, func() { p.Refuse(false) }},
				{func() { p.BlackHole(true) }, func() { p.BlackHole(false) }},
			} {
				load.Await(20)
				outage.begin()
				load.AwaitFailures(2)
				outage.end()
			}
			for _, unnoticed := range []func(){p.CutAll, p.HalfOpen} { // since calls are repeated
				load.Await(20)
				unnoticed()
			}
		}
		load.Await(20)
		load.Check(sound)
	})
	// This one is atomic, and answers at once: what overtakes what is left to chance.
	t.Run("wire", func(t *testing.T) {
		t.Parallel()
		w := startWire(t, mongowire.Standalone)
		p := testserver.StartProxy(t, w.Addr())
		load, sound := startLoad(t, p, w.URL())
		for range drivertest.Sized(3, 100) {
			load.Await(100)
			p.CutAll()
			load.Await(100)
			w.Disconnect()
		}
		load.Check(sound)
	})
}

func startLoad(t *testing.T, p *testserver.Proxy, url string) (*drivertest.Load, backend.Backend) {
	t.Helper()
	var handles []backend.Backend
	for range 4 {
		client := connect(t, "mongodb://"+p.Addr()+"/")
		handles = append(handles, newBackend(t, client.Database("load").Collection("keys"), nil))
	}
	return drivertest.StartLoad(t, false, handles...), newBackend(t, connect(t, url).Database("load").Collection("keys"), nil)
}
