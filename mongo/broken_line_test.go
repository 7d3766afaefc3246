package mongo_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"

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
	for _, command := range []string{"update", "find", "delete", "getMore"} {
		if bytes.HasPrefix(request[name:], []byte(command+"\x00")) {
			return true
		}
	}
	return false
}

func TestOperations(t *testing.T) {
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

// The server in this process is atomic, the processes race for real.
func TestProcesses(t *testing.T) {
	t.Parallel()
	drivertest.Processes(t, startWire(t, mongowire.Primary).URL(), 3, drivertest.Sized(20, 200))
}
